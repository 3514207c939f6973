//! `rename`: another name for a container, on its network, too.

use anyhow::Result;
use ch07_lifecycle::commands::rename;
pub use ch07_lifecycle::commands::rename::Args;
use ch07_lifecycle::record::Record;

use crate::options::NetworkOptions;
use crate::{cable, neighbours};

/// All that `rename` does, in order.
pub fn rename(args: &Args) -> Result<u8> {
    rename::rename_as(args, tell_network)
}

/// Writes the new name on the container's cable, if it has one.
fn tell_network(record: &Record) -> Result<()> {
    let Ok(options) = NetworkOptions::of(record) else { return Ok(()) }; // it's on no network that we know
    let Some((_, own)) = cable::place_of(record)? else { return Ok(()) };
    neighbours::label(record, options.aliases(), own.cable)
}
