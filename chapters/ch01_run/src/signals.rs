//! Signals kept for later, and handed on: sigprocmask(2), sigwaitinfo(2), signal(7), signal-safety(7).

use std::ptr;

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, raise, signal, sigprocmask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
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
pub fn wait_until_stopped(child: Pid) -> Result<()> {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(child), flags) {
        Err(Errno::ECHILD) => Ok(()),
        waited => waited.map(drop).with_context(|| format!("waiting for process {child}")),
    }
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
