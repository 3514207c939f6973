//! A process of ours that copies while `run` waits: fork(2), prctl(2), signalfd(2).

use anyhow::{Context, Result};
use ch01_run::errors::RUNTIME_FAILED;
use ch01_run::{messages, signals};
use log::debug;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// A process in the caller's job, with a copy of our memory and descriptors. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Worker {
    pid: Pid,
    /// Its exit status, once it has been reaped.
    status: Option<u8>,
}

impl Worker {
    /// Makes it. It does the `work`, and ends with 0, or after one line on stderr with the status of a failed runtime. It
    /// dies with us. The signals that we hold stay held in it: it's for us to decide what they do.
    pub fn start(work: impl FnOnce() -> Result<()>) -> Result<Worker> {
        debug!("fork()");
        // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
        match unsafe { fork() }.context("forking a process that copies")? {
            ForkResult::Parent { child } => Ok(Worker { pid: child, status: None }),
            ForkResult::Child => {
                let bond = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("asking to die with run");
                let done = bond.and_then(|()| work());
                std::process::exit(done.map_or_else(|error| messages::fail(&error), |()| 0).into())
            }
        }
    }

    /// Its exit status, if it has ended. It is reaped with that.
    pub fn status(&mut self) -> Result<Option<u8>> {
        if self.status.is_none() {
            let looked = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
            self.status = match looked.context("waiting for a process that copies")? {
                WaitStatus::Exited(_, code) => Some(code as u8), // 0 to 255: wait(2)
                WaitStatus::Signaled(_, signal, _) => {
                    messages::say(&format!("a process that copies was killed by {signal}"));
                    Some(RUNTIME_FAILED)
                }
                _ => None,
            };
        }
        Ok(self.status)
    }

    /// Sends it a signal, unless it has been reaped: until then, the number is its own and nobody else's.
    fn send(&self, signal: Signal) {
        if self.status.is_none() {
            debug!("kill({}, {signal})", self.pid);
            let _ = kill(self.pid, signal); // to one that has just ended it does nothing
        }
    }

    /// Tells it, by SIGCHLD, that the container has ended and nothing new will come. It takes that as it likes. Not by
    /// SIGTERM: that may come from others, for the whole job, and before the container ends.
    pub fn expect_end(&self) {
        self.send(Signal::SIGCHLD);
        self.go_on(); // it may be stopped
    }

    /// Stops it. Returns when it stands still, or has ended.
    pub fn stop(&self) -> Result<()> {
        self.send(Signal::SIGSTOP);
        signals::wait_until_stopped(self.pid)
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.send(Signal::SIGCONT);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.send(Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Signals as a file, so that one poll(2) waits for them and for the rest. They are held from here on.
pub fn signals_as_file(signals: &[Signal]) -> Result<SignalFd> {
    let set = SigSet::from_iter(signals.iter().copied());
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context("holding signals")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).context("making a file of signals")
}
