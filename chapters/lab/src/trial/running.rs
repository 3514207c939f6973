//! A run that goes on: find its container, read what it wrote, send it signals, wait for its end.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use nix::sys::signal::Signal;

use crate::machine::process::{Mark, Process};
use crate::see::{self, SOON, shown, wait_for};
use crate::trial::outcome::Outcome;

/// A run in the background. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    /// The shell line that does the same.
    pub(super) line: String,
    pub(super) child: Child,
    /// The files that take its output.
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
    /// COMMAND and its arguments, as they were asked for.
    pub(super) command: Vec<OsString>,
    /// All that descends from it has this mark.
    pub(super) mark: Mark,
    /// When it must have ended, in seconds.
    pub(super) longest: u64,
}

impl Running {
    /// The shell line that does the same.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// The `run` process itself.
    pub(crate) fn runtime(&self) -> Process {
        Process(self.child.id().cast_signed())
    }

    pub(crate) fn stdout(&self) -> Vec<u8> {
        fs::read(&self.stdout).unwrap_or_default()
    }

    pub(crate) fn stderr(&self) -> Vec<u8> {
        fs::read(&self.stderr).unwrap_or_default()
    }

    /// The container's command: PID 1 of a PID namespace that is not the host's. Waits until it has
    /// been executed, which is when its command line is what was asked for: a runtime may be a script or
    /// execute itself again, so that the file it executes tells nothing.
    pub(crate) fn container(&mut self) -> Result<Process> {
        let runtime = self.runtime();
        let asked = &self.command;
        let is_it = |process: &Process| {
            let numbers = process.numbers();
            numbers.len() > 1
                && numbers.last() == Some(&1)
                && process.descends_from(runtime)
                && process.runs(asked)
        };
        let mark = self.mark;
        let child = &mut self.child;
        let found = wait_for(SOON, || {
            let found = mark.processes().into_iter().find(is_it);
            Ok(match found {
                Some(process) => Some(Some(process)),
                None => child.try_wait()?.map(|_| None), // it has ended
            })
        })?;
        let Some(container) = found.flatten() else {
            return Err(self.differs(
                "a process below `run` that is number 1 of a new PID namespace, and executes the command",
                format!("none, with stderr {}", shown(&self.stderr())),
            ));
        };
        // The last that execve(2) sets up are the arguments and then the environment.
        let started = || Ok((!container.environment().unwrap_or_default().is_empty()).then_some(()));
        wait_for(Duration::from_millis(200), started)?;
        Ok(container)
    }

    /// The container's id: its hostname, unless it was given another.
    pub(crate) fn id(&mut self) -> Result<String> {
        self.container()?.hostname()
    }

    /// Waits until the command has written `text` to stdout.
    pub(crate) fn wrote(&mut self, text: &str) -> Result<()> {
        let found = |output: Vec<u8>| String::from_utf8_lossy(&output).contains(text);
        let answer = wait_for(SOON, || {
            if found(self.stdout()) {
                return Ok(Some(true));
            }
            Ok(self.child.try_wait()?.map(|_| found(self.stdout())))
        })?;
        if answer == Some(true) {
            return Ok(());
        }
        let saw = format!("{}, and on stderr {}", shown(&self.stdout()), shown(&self.stderr()));
        Err(self.differs(format!("{text:?} on stdout"), saw))
    }

    /// What its processes, and all of theirs, have in common.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Sends a signal to `run`.
    pub(crate) fn signal(&self, signal: Signal) {
        self.runtime().signal(signal);
    }

    /// Kills `run`, and first, from chapter 7 on, who keeps the container while `run` stands still. So nobody is left who could
    /// clean up.
    pub(crate) fn kill_whole(&mut self) -> Result<()> {
        let keeper = self.container()?.parent().filter(|keeper| *keeper != self.runtime());
        if let Some(keeper) = keeper.filter(|keeper| keeper.descends_from(self.runtime())) {
            self.runtime().halt()?;
            keeper.signal(Signal::SIGKILL);
        }
        self.signal(Signal::SIGKILL);
        Ok(())
    }

    /// Whether `run` has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("waiting for run")
    }

    /// Kills the command, PID 1 of the container, and waits for the run's end.
    pub(crate) fn kill_command(mut self) -> Result<Outcome> {
        self.container()?.signal(Signal::SIGKILL);
        self.finish()
    }

    /// Waits for the run's end.
    pub(crate) fn finish(mut self) -> Result<Outcome> {
        let longest = self.longest;
        match wait_for(Duration::from_secs(longest), || self.ended())? {
            Some(status) => {
                Ok(Outcome { line: self.line.clone(), status, stdout: self.stdout(), stderr: self.stderr() })
            }
            None => Err(self.differs(
                format!("an end within {longest} seconds"),
                format!("it still runs; stdout {}, stderr {}", shown(&self.stdout()), shown(&self.stderr())),
            )),
        }
    }

    pub(crate) fn differs(&self, expected: impl Display, saw: impl Display) -> Error {
        see::differs(&self.line, expected, saw)
    }

    /// Fails unless the two are the same.
    pub(crate) fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, expected: T, saw: T) -> Result<()> {
        see::same(&self.line, what, expected, saw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Harmless if it has ended: then there is no process to kill, and the status is known.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
