//! `rename`: another name for a container.

use anyhow::{Result, ensure};
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
    let record = args.which.begin()?;
    let state = state::root()?;
    let old = record.read("name")?;
    ensure!(old.as_deref() != Some(&args.name), "container {} has that name already", record.id());
    // The new one before the old one goes: killed in between, it has two, and not none.
    names::take(&state, &args.name, record.id())?;
    if let Err(error) = record.write("name", &args.name) {
        names::give_up(&state, &args.name, record.id())?;
        return Err(error);
    }
    if let Some(old) = old.and_then(|old| names::parse(&old).ok()) {
        names::give_up(&state, &old, record.id())?;
    }
    Ok(0)
}
