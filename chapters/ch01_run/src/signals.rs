//! Signals kept for later, and handed on: sigprocmask(2), sigwaitinfo(2), signal(7), signal-safety(7).

use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, raise, signal, sigprocmask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid};

/// What people and machines send to end a program. We pass these on to the container.
const PASSED_ON: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Signals that wait in the kernel until we ask for the next: SIGINT, SIGTERM, SIGHUP and SIGQUIT, which go on to the
/// container; SIGCHLD, which says that it may have ended; SIGTSTP and SIGCONT, with which a shell stops us and lets us
/// go on.
///
/// Blocking them and asking needs no signal handler, so no code of ours runs at a surprising moment.
#[derive(Debug)]
pub struct HeldSignals(SigSet);

impl HeldSignals {
    /// Holds the signals from here on. Call it before making anything that must be undone: from now
    /// on none of them ends this process in the middle.
    pub fn hold() -> Result<HeldSignals> {
        let mut set = SigSet::from_iter(PASSED_ON);
        set.extend([Signal::SIGCHLD, Signal::SIGTSTP, Signal::SIGCONT]);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context("holding signals")?;
        Ok(HeldSignals(set))
    }

    /// Waits for the next of them.
    pub fn next(&self) -> Result<Signal> {
        self.0.wait().context("waiting for a signal")
    }

    /// One to pass on that has come already, if there is one.
    pub fn next_to_pass_on(&self) -> Result<Option<Signal>> {
        take(&SigSet::from_iter(PASSED_ON))
    }

    /// Whether one to pass on has come. It goes on waiting.
    pub fn must_end(&self) -> Result<bool> {
        let signal = self.next_to_pass_on()?;
        signal.map_or(Ok(()), raise).context("holding a signal again")?;
        Ok(signal.is_some())
    }

    /// Stops this process, or the whole of the job that it is in, by such a signal. Returns when it goes on, and whether
    /// it was stopped at all: where no shell could let it go on, the kernel does not.
    pub fn stop(&self, whom: Stopped, signal: Signal) -> Result<bool> {
        let pid = match whom {
            Stopped::Process => getpid(),
            Stopped::Job => Pid::from_raw(0),
        };
        debug!("kill({pid}, {signal})");
        kill(pid, signal).with_context(|| format!("stopping by {signal}"))?;
        Ok(take(&SigSet::from(Signal::SIGCONT))?.is_some())
    }
}

/// Waits until a child that has got SIGSTOP stands still, or has ended; its end can still be waited for. Until then, a
/// read that is under way takes what is typed. Processes that a shell in the container has started have that moment:
/// their stop is told to their parent only.
///
/// A second is the most. One that is in the middle of vfork(2) stops when its child has become a program, and that child
/// may have been stopped before. It reads nothing meanwhile.
pub fn wait_until_stopped(child: Pid) -> Result<()> {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    for _ in 0..200 {
        match waitid(Id::Pid(child), flags) {
            Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(5)),
            Err(Errno::ECHILD) => break,
            waited => return waited.map(drop).with_context(|| format!("waiting for process {child}")),
        }
    }
    Ok(())
}

/// Who is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// This process.
    Process,
    /// Its process group: all that the shell started with it.
    Job,
}

/// Takes one of these signals, if one is waiting.
fn take(set: &SigSet) -> Result<Option<Signal>> {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set and the time are ours and live as long as the call; nobody asks for more about the signal.
    match Errno::result(unsafe { libc::sigtimedwait(set.as_ref(), ptr::null_mut(), &at_once) }) {
        Ok(number) => Ok(Some(Signal::try_from(number)?)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno).context("looking for signals"),
    }
}

/// In the child, until it becomes the command: a signal that is passed on ends it, with the status that says so.
///
/// Without this the kernel would drop the signal, as it does for a process 1 that has no handler. There is no moment
/// without one: execve(2) itself takes the handlers away, in the step that makes the command.
pub fn end_when_signalled() -> Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit(2) may be called in a handler: signal-safety(7).
        unsafe { libc::_exit(128 + signal) }
    }
    for which in PASSED_ON {
        // SAFETY: the handler does nothing but exit, so it does not matter what it interrupts.
        unsafe { signal(which, SigHandler::Handler(end)) }.with_context(|| format!("handling {which}"))?;
    }
    let set = SigSet::from_iter(PASSED_ON);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None).context("unblocking signals")
}

/// Gives the command a clean start: each of the 31 classic signals at its default, none blocked.
///
/// Ignored and blocked signals survive execve(2), and we come with some: Rust ignores SIGPIPE, we
/// hold some, and our caller may have had its own (nohup ignores SIGHUP).
pub fn reset() -> Result<()> {
    for signal in Signal::iterator() {
        // These two cannot be caught or ignored, so there is nothing to reset. What has a handler is reset by execve.
        let fixed = [Signal::SIGKILL, Signal::SIGSTOP].contains(&signal);
        if !fixed && !PASSED_ON.contains(&signal) {
            set(signal, SigHandler::SigDfl).with_context(|| format!("resetting {signal}"))?;
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblocking signals")
}

/// Lets the kernel do with a signal what it does where nobody has asked for anything else: signal(7) lists it.
pub fn set_default(which: Signal) -> Result<()> {
    set(which, SigHandler::SigDfl).with_context(|| format!("resetting {which}"))
}

/// Lets the kernel drop a signal.
pub fn ignore(which: Signal) -> Result<()> {
    set(which, SigHandler::SigIgn).with_context(|| format!("ignoring {which}"))
}

fn set(which: Signal, action: SigHandler) -> nix::Result<()> {
    // SAFETY: the two actions that are used name what the kernel does, no function of ours that could be unsafe to run
    // in a signal handler.
    unsafe { signal(which, action) }.map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Instant;

    use nix::sys::signal::killpg;
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// As vfork(2), but for the memory, which is a copy: the caller goes on when its child has become a program, or has
    /// ended. This one does neither.
    fn in_the_middle_of_vfork() -> ! {
        let flags = libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: system calls that change no memory, in a copy of this process that has one thread.
        unsafe {
            libc::setpgid(0, 0);
            if libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
                libc::pause();
            }
            libc::_exit(0)
        }
    }

    #[test]
    fn a_stop_that_cannot_come_is_not_waited_for_for_ever() {
        // SAFETY: the child makes system calls only.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => in_the_middle_of_vfork(),
            ForkResult::Parent { child } => child,
        };
        let has_child = || {
            fs::read_to_string(format!("/proc/{child}/task/{child}/children"))
                .is_ok_and(|all| !all.is_empty())
        };
        while !has_child() {
            thread::yield_now();
        }
        killpg(child, Signal::SIGSTOP).unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(wait_until_stopped(child).is_ok()));
        let waited = receiver.recv_timeout(Duration::from_secs(20));
        killpg(child, Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
        assert_eq!(waited, Ok(true));
    }

    #[test]
    fn a_stop_is_seen_when_it_comes() {
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(sleeper.id() as i32);
        let waited = || {
            kill(pid, Signal::SIGSTOP).unwrap();
            let begun = Instant::now();
            wait_until_stopped(pid).unwrap();
            kill(pid, Signal::SIGCONT).unwrap();
            begun.elapsed()
        };
        // One of five at least, if the machine is busy.
        let shortest = (0..5).map(|_| waited()).min();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(shortest < Some(Duration::from_millis(500)), "{shortest:?}");
    }
}
