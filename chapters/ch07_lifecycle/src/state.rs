//! How a container is: looked up, never stored.

use anyhow::Result;
use ch01_run::errors::RUNTIME_FAILED;

use crate::groups;
use crate::record::Record;

/// The status of what was killed by SIGKILL.
pub const KILLED: u8 = 137;

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, and never started.
    Created,
    /// It runs.
    Running,
    /// It runs, and its processes are frozen.
    Paused,
    /// It has ended, and its keeper waits a moment before it starts it again.
    Restarting(u8),
    /// It has ended, with this status.
    Exited(u8),
}

impl State {
    /// How the container of this record is.
    pub fn of(record: &Record) -> Result<State> {
        // The lock first: what was written before it was given up is there afterwards.
        let lives = record.lives()?;
        let status = record.read("status")?.map(|text| text.parse().unwrap_or(RUNTIME_FAILED));
        if lives {
            return Ok(match status {
                Some(status) => State::Restarting(status),
                None if record.has("started")? && groups::is_frozen(record.id())? => State::Paused,
                None if record.has("started")? => State::Running,
                None => State::Created,
            });
        }
        // Without a status: its keeper was killed, and the container with it.
        let started = record.has("started")?;
        Ok(status.map_or(if started { State::Exited(KILLED) } else { State::Created }, State::Exited))
    }

    /// Whether there are processes.
    pub fn runs(self) -> bool {
        matches!(self, State::Running | State::Paused)
    }
}
