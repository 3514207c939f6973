//! `rename`: another name for a container.

use anyhow::Result;
use ch03_pivot_root::state;

use crate::common::One;
use crate::names;
use crate::record::Record;

/// Arguments of `rename`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: One,
    /// Its new name
    #[arg(value_parser = names::parse)]
    name: String,
}

/// All that `rename` does, in order.
pub fn rename(args: &Args) -> Result<u8> {
    rename_as(args, |_| Ok(()))
}

/// The same, and then whatever has to know of it is told.
pub fn rename_as(args: &Args, tell: fn(&Record) -> Result<()>) -> Result<u8> {
    let record = args.which.begin()?;
    names::change(&state::root()?, &record, &args.name)?;
    tell(&record)?;
    Ok(0)
}
