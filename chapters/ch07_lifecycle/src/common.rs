//! What the commands have in common: how they begin, and how they are told which container is meant.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use ch01_run::{messages, namespaces};
use ch03_pivot_root::state;
use log::LevelFilter;

use crate::find;
use crate::record::Record;

/// What each of them is asked for.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// What to tell on stderr: error, warn, info, debug or trace [default: $RUST_LOG, else warn]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
}

impl Common {
    /// Starts the log. Fails unless we are root.
    pub fn start(&self) -> Result<()> {
        messages::start_log(self.log_level)?;
        namespaces::require_root()
    }

    /// The same, and returns the state directory.
    pub fn begin(&self) -> Result<PathBuf> {
        self.start()?;
        state::root()
    }
}

/// What those are asked for that are about one container.
#[derive(Debug, clap::Args)]
pub struct One {
    #[command(flatten)]
    common: Common,
    /// The container: its name, its id, or the beginning of that
    pub container: OsString,
}

impl One {
    /// Begins, and finds the container.
    pub fn begin(&self) -> Result<Record> {
        find::one(&self.common.begin()?, &self.container)
    }
}
