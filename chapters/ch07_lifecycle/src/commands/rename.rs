//! `rename`: another name for a container.

use anyhow::Result;
use ch03_pivot_root::state;

use crate::common::One;
use crate::names;

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
    names::change(&state::root()?, &args.which.begin()?, &args.name)?;
    Ok(0)
}
