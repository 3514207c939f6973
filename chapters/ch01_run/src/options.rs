//! The options that `run` has from the first chapter on, in Docker's words.

use std::ffi::{OsStr, OsString};

use log::LevelFilter;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Keep stdin open (else the container reads /dev/null)
    #[arg(short)]
    pub interactive: bool,
    /// Use the caller's terminal
    #[arg(short)]
    pub terminal: bool,
    /// The container's hostname [default: its id]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<OsString>,
    /// What to tell on stderr: error, warn, info, debug or trace [default: $RUST_LOG, else warn]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
}

impl Options {
    /// The hostname that was asked for, or else the container's id.
    pub fn hostname_or<'a>(&'a self, id: &'a str) -> &'a OsStr {
        self.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(OsStr::new(id))
    }
}
