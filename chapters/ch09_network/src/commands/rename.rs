//! `rename`: another name for a container, on its networks, too.

use anyhow::Result;
use ch07_lifecycle::commands::rename;
pub use ch07_lifecycle::commands::rename::Args;
use ch07_lifecycle::record::Record;

use crate::endpoint::Endpoint;
use crate::neighbours;
use crate::options::NetworkOptions;

/// All that `rename` does, in order.
pub fn rename(args: &Args) -> Result<u8> {
    rename::rename_as(args, tell_network)
}

/// Writes the new name on each of the container's cables.
fn tell_network(record: &Record) -> Result<()> {
    let Ok(options) = NetworkOptions::of(record) else { return Ok(()) }; // it's on no network that we know
    let endpoints = options.endpoints();
    for around in neighbours::around(record.id())? {
        let is_it = |endpoint: &&Endpoint| endpoint.network.name() == around.bridge.network;
        if let Some(endpoint) = endpoints.iter().find(is_it) {
            neighbours::label(record, endpoint, around.own.cable)?;
        }
    }
    Ok(())
}
