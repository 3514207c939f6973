//! Signals kept for later, and handed on: sigprocmask(2), sigwait(3), signal(7).

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

/// Signals that wait in the kernel until we ask for the next: SIGINT, SIGTERM, SIGHUP and SIGQUIT,
/// which go on to the container, and SIGCHLD, which says that it may have ended.
///
/// Blocking them and asking needs no signal handler, so no code of ours runs at a surprising moment.
#[derive(Debug)]
pub struct HeldSignals(SigSet);

impl HeldSignals {
    /// Holds the signals from here on. Call it before making anything that must be undone: from now
    /// on none of them ends this process in the middle.
    pub fn hold() -> Result<HeldSignals> {
        let mut set = SigSet::empty();
        set.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD]);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context("holding signals")?;
        Ok(HeldSignals(set))
    }

    /// Waits for the next of them.
    pub fn next(&self) -> Result<Signal> {
        self.0.wait().context("waiting for a signal")
    }
}

/// Gives the command a clean start: each of the 31 classic signals at its default, none blocked.
///
/// Ignored and blocked signals survive execve(2), and we come with some: Rust ignores SIGPIPE, we
/// hold five, and our caller may have had its own (nohup ignores SIGHUP).
pub fn reset() -> Result<()> {
    for signal in Signal::iterator() {
        // These two cannot be caught or ignored, so there is nothing to reset.
        if signal != Signal::SIGKILL && signal != Signal::SIGSTOP {
            set_default(signal).with_context(|| format!("resetting {signal}"))?;
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblocking signals")
}

/// Lets the kernel do again what it does with a signal that nobody has asked for otherwise: signal(7) lists it.
pub fn set_default(which: Signal) -> nix::Result<()> {
    // SAFETY: SIG_DFL names an action of the kernel's, no function of ours that could be unsafe to
    // run in a signal handler.
    unsafe { signal(which, SigHandler::SigDfl) }.map(drop)
}
