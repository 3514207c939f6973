//! The processes that copy for the caller's terminal, and the wait for the container that goes with them. signal(7).

use anyhow::Result;
use ch01_run::child::Child;
use ch01_run::signals::{HeldSignals, Stopped};
use nix::sys::signal::Signal;

use crate::raw::{self, CallersModes};
use crate::worker::Worker;

/// Our side of the container's stdin, stdout and stderr. Dropped, the processes are killed, and the caller's terminal has
/// its modes again.
#[derive(Debug, Default)]
pub struct Carriers {
    // In this order: a process that is still there could set the modes once more.
    /// Copies what is typed, for as long as the container lives.
    pub typing: Option<Worker>,
    /// These copy what is printed, until all is copied.
    pub printing: Vec<Worker>,
    /// Those of the caller's terminal, if it is to be raw.
    pub modes: Option<CallersModes>,
}

impl Carriers {
    /// Waits until our job is in the foreground, if the container is to get what is typed into its terminal. Call it while
    /// the child still waits at its gate: in the background nothing has begun.
    pub fn wait_for_foreground(&self, signals: &HeldSignals) -> Result<()> {
        if self.modes.is_some() { raw::wait_for_foreground(signals).map(drop) } else { Ok(()) }
    }

    /// Waits for the container's end, passing on the held signals, and stopping with our job. What it printed has all
    /// arrived then. Returns the command's exit status, or 128+n if signal n killed it.
    ///
    /// A process that copies may fail. It has said why; then the container is killed, for nothing goes in or out any more,
    /// and the status is that of a failed runtime.
    pub fn wait(&mut self, container: &mut Child, signals: &HeldSignals) -> Result<u8> {
        loop {
            match signals.next()? {
                Signal::SIGCHLD => {
                    if let Some(status) = container.reap()? {
                        self.finish(signals)?;
                        return Ok(self.failure()?.unwrap_or(status));
                    }
                    self.look_after(container)?;
                }
                Signal::SIGTSTP => self.stop(signals)?,
                Signal::SIGCONT => {} // we do go on
                signal => container.pass_on(signal)?,
            }
        }
    }

    /// Sees whether the processes that copy have ended before the container.
    fn look_after(&mut self, container: &mut Child) -> Result<()> {
        if self.failure()?.is_some() {
            container.pass_on(Signal::SIGKILL)?;
        } else if self.all_ended()? {
            // It runs on without its terminal: now Ctrl-C is a signal again, which is passed on.
            self.modes.iter().for_each(CallersModes::restore);
        }
        Ok(())
    }

    /// Waits until all that was printed has been carried out. A signal that would end the container ends this.
    fn finish(&mut self, signals: &HeldSignals) -> Result<()> {
        self.typing = None; // nobody is there for it
        for worker in &self.printing {
            worker.expect_end();
        }
        while !self.all_ended()? {
            match signals.next()? {
                Signal::SIGCHLD | Signal::SIGCONT => {}
                Signal::SIGTSTP => self.stop(signals)?,
                _ => break,
            }
        }
        Ok(())
    }

    fn all_ended(&mut self) -> Result<bool> {
        let mut all = true;
        for worker in &mut self.printing {
            all &= worker.status()?.is_some();
        }
        Ok(all)
    }

    /// The status of a process that copies and has failed, if there is one.
    fn failure(&mut self) -> Result<Option<u8>> {
        for worker in self.printing.iter_mut().chain(&mut self.typing) {
            if let Some(status @ 1..) = worker.status()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Stops us, as whoever sent SIGTSTP wants it, until we are to go on. Nobody reads what is typed in that time, and the
    /// terminal is as the caller knows it.
    fn stop(&mut self, signals: &HeldSignals) -> Result<()> {
        for worker in self.printing.iter_mut().chain(&mut self.typing) {
            worker.stop()?;
        }
        if let Some(modes) = &self.modes {
            modes.restore();
        }
        signals.stop(Stopped::Process, Signal::SIGSTOP)?;
        for worker in self.printing.iter_mut().chain(&mut self.typing) {
            worker.go_on(); // and sets the modes again, if it does
        }
        Ok(())
    }
}
