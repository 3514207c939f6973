//! `logout`: a user and a password of a registry are forgotten.

use anyhow::Result;
use ch01_run::messages;
use ch07_lifecycle::output::print_line;
use log::LevelFilter;

use crate::credentials::{ConfigFile, registry_of};

/// Arguments of `logout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to tell on stderr: error, warn, info, debug or trace [default: $RUST_LOG, else warn]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
    /// The registry [default: docker.io]
    server: Option<String>,
}

/// All that `logout` does, in order. The registry is told nothing: it never knew.
pub fn logout(args: &Args) -> Result<u8> {
    messages::start_log(args.log_level)?;
    let registry = registry_of(args.server.as_deref())?;
    let were_there = ConfigFile::of_caller()?.set(&registry, None)?;
    let words = if were_there { "Removing login credentials for" } else { "Not logged in to" };
    print_line(&format!("{words} {registry}"))?;
    Ok(0)
}
