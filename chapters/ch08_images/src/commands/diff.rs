//! `diff`: what a container has changed in its image's files.

use std::fmt::Write;

use anyhow::Result;
use ch07_lifecycle::common::One;
use ch07_lifecycle::{lowers, output};

use crate::changes::changes;

/// What `diff` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: One,
}

/// All that `diff` does, in order.
pub fn diff(args: &Args) -> Result<u8> {
    let record = args.which.begin()?;
    let mut text = String::new();
    for change in changes(&record.path("upper"), &lowers::read(&record)?)? {
        writeln!(text, "{change}")?;
    }
    output::print(text.as_bytes())?;
    Ok(0)
}
