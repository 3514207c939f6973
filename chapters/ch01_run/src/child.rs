//! A process in new namespaces, held at a gate: clone(2), pipe(2), prctl(2), wait(2).

use std::convert::Infallible;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use anyhow::{Context, Result};
use log::debug;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close};

use crate::errors::RUNTIME_FAILED;
use crate::signals::HeldSignals;
use crate::{messages, signals};

/// Enough for our few calls between clone and exec; the kernel gives memory only to what is touched.
const STACK_SIZE: usize = 1024 * 1024;

/// A child in new namespaces. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Stays open as long as we live: its closing tells the child that we are gone.
    gate: PipeWriter,
    reaped: bool,
}

/// Clones this process into new namespaces of the kinds in `namespaces`. The child waits at the gate, then does what is
/// to be done `inside`, which ends in the command. If either fails, it says why and exits.
///
/// The child gets a copy of the one thread that calls this, so the caller must have no other: a lock
/// that another thread holds at that moment stays locked in the child for ever.
pub fn spawn(namespaces: CloneFlags, mut inside: impl FnMut() -> Result<Infallible>) -> Result<Child> {
    let (mut reader, gate) = std::io::pipe().context("making the gate's pipe")?;
    let copy = gate.as_raw_fd();
    let mut stack = vec![0; STACK_SIZE];
    let in_child = || {
        let Err(error) = begin(&mut reader, copy).and_then(|()| inside());
        messages::fail(&error).into()
    };
    let mut names: Vec<_> = namespaces.iter_names().map(|(name, _)| name).collect();
    names.push("SIGCHLD");
    debug!("clone({})", names.join("|"));
    // SAFETY: without CLONE_VM the child has its own copy of our memory, this stack included, as
    // after fork(2), and leaves it only by exec or exit. We run one thread, so no lock is half held.
    let pid = unsafe { clone(Box::new(in_child), &mut stack, namespaces, Some(Signal::SIGCHLD as i32)) }
        .context("cloning a child into new namespaces")?;
    Ok(Child { pid, gate, reaped: false })
}

/// What the child does first.
fn begin(gate: &mut PipeReader, copy: RawFd) -> Result<()> {
    signals::end_when_signalled()?;
    // The child's copy of the parent's end: left open, it would hide that the parent's own was closed.
    close(copy).context("closing the copy of the gate")?;
    wait_at_gate(gate)
}

/// In the child: waits for the parent's byte, and makes sure that we die when the parent does.
fn wait_at_gate(gate: &mut PipeReader) -> Result<()> {
    // By SIGKILL, because PID 1 of a namespace ignores every signal that it has no handler for. The kernel forgets
    // this wish when a process changes its user or its group, also by executing a set-user-ID or set-group-ID program
    // that does: a command that gives up root outlives a run that is killed.
    debug!("prctl(PR_SET_PDEATHSIG, SIGKILL)");
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("asking to die with the parent")?;
    match gate.read_exact(&mut [0]) {
        // The parent is gone, so nobody asks why we end. Below, too.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => std::process::exit(RUNTIME_FAILED.into()),
        waited => waited.context("waiting at the gate")?,
    }
    // A parent that opened the gate and died before our prctl sends no signal any more. But its end
    // of the pipe is closed now, and poll(2) tells that without waiting.
    let mut fds = [PollFd::new(gate.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).context("looking for the parent")?;
    if fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)) {
        std::process::exit(RUNTIME_FAILED.into());
    }
    Ok(())
}

impl Child {
    /// The child's process id, as the host sees it. Inside it is 1.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the child go on.
    pub fn open_gate(&mut self) -> Result<()> {
        match self.gate.write_all(b"!") {
            // The child has ended already and has said why; its status is there for `reap`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.context("letting the child go"),
        }
    }

    /// Opens the gate. A signal that has come before goes first: the child that it ends never becomes the command.
    pub fn start(&mut self, signals: &HeldSignals) -> Result<()> {
        while let Some(signal) = signals.next_to_pass_on()? {
            self.pass_on(signal)?;
        }
        self.open_gate()
    }

    /// Sends the child a signal.
    pub fn pass_on(&self, signal: Signal) -> Result<()> {
        debug!("kill({}, {signal})", self.pid);
        kill(self.pid, signal).with_context(|| format!("passing on {signal}"))
    }

    /// The status of a child that has ended, which leaves the process table with that. `None` while it lives:
    /// SIGCHLD comes also when it is stopped, and for other children than this one.
    pub fn reap(&mut self) -> Result<Option<u8>> {
        let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG))
            .with_context(|| format!("waiting for process {}", self.pid))?;
        debug!("waitpid({}) = {status:?}", self.pid);
        let status = match status {
            WaitStatus::Exited(_, code) => Some(code as u8), // 0 to 255: wait(2)
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as u8),
            _ => None,
        };
        self.reaped = status.is_some();
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // An unreaped child keeps its process id, so this can reach no one else. When PID 1 has
            // been reaped, the kernel has already killed all that was left in its namespace.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}
