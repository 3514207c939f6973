//! Waiting for a container's end, with what comes in between: sigwaitinfo(2), wait(2).

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::child::Child;
use crate::signals::HeldSignals;
use crate::terminal::Terminal;

impl Child {
    /// Waits for the end, passing on the held signals meanwhile, and stopping with our job. Returns the command's exit
    /// status, or 128+n if signal n killed it.
    pub fn wait(&mut self, signals: &HeldSignals, terminal: &mut Terminal) -> Result<u8> {
        loop {
            match signals.next()? {
                Signal::SIGCHLD => {
                    if let Some(status) = self.reap()? {
                        return Ok(status);
                    }
                }
                Signal::SIGTSTP => terminal.stop(signals)?,
                Signal::SIGCONT => {} // we do go on
                signal => self.pass_on(signal)?,
            }
        }
    }
}
