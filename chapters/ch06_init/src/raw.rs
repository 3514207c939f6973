//! The caller's terminal, which hands each key on at once while the container has one of its own: termios(3).

use std::io::{IsTerminal, stdin};

use anyhow::{Context, Result};
use ch01_run::signals::HeldSignals;
use ch01_run::terminal;
use log::debug;
use nix::errno::Errno;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// The modes of the terminal on stdin. Dropped, the terminal has them again.
#[derive(Debug)]
pub struct CallersModes(Termios);

impl CallersModes {
    /// Remembers them. `None` if stdin is no terminal.
    pub fn of_stdin() -> Result<Option<CallersModes>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let modes = tcgetattr(stdin()).context("reading the terminal's modes")?;
        Ok(Some(CallersModes(modes)))
    }

    /// No echo, no editing of lines, no signals for keys: all of that is the business of the container's terminal. Does it
    /// only in the foreground; elsewhere the kernel would stop us.
    pub fn make_raw(&self, signals: &HeldSignals) -> Result<()> {
        if wait_for_foreground(signals)? {
            let mut raw = self.0.clone();
            cfmakeraw(&mut raw);
            debug!("tcsetattr(0, raw)");
            tcsetattr(stdin(), SetArg::TCSADRAIN, &raw).context("setting the terminal raw")?;
        }
        Ok(())
    }

    /// Sets them again, if we are in the foreground; else the terminal is somebody else's. One that has hung up needs none.
    pub fn restore(&self) {
        if is_in_foreground().unwrap_or(false) {
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &self.0);
        }
    }
}

impl Drop for CallersModes {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Waits until our job has the terminal, stopped meanwhile. Returns whether it has; not so if a signal came that ends us.
pub fn wait_for_foreground(signals: &HeldSignals) -> Result<bool> {
    if is_in_foreground()? { Ok(true) } else { terminal::wait_for_foreground(signals) }
}

fn is_in_foreground() -> Result<bool> {
    match tcgetpgrp(stdin()) {
        Err(Errno::ENOTTY) => Ok(true), // it isn't our session's terminal, and then no job control keeps us from it
        group => Ok(group.context("looking who has the terminal")? == getpgrp()),
    }
}
