//! `rename`: another name for a container, on its networks, too.

use anyhow::Result;
use ch07_lifecycle::commands::rename;
pub use ch07_lifecycle::commands::rename::Args;
use ch07_lifecycle::record::Record;

use crate::endpoint::Endpoint;
use crate::neighbours;
use crate::network::{self, Network};
use crate::options::NetworkOptions;

/// All that `rename` does, in order.
pub fn rename(args: &Args) -> Result<u8> {
    rename::rename_as(args, tell_network)
}

/// Writes the new name on each of the container's cables.
fn tell_network(record: &Record) -> Result<()> {
    let _held = network::hold()?; // nobody has laid a cable and not noted it yet
    let Ok(options) = NetworkOptions::of(record) else { return Ok(()) }; // it's on no network that we know
    let endpoints = options.endpoints();
    for around in neighbours::around(record.id())? {
        let is_it = |endpoint: &&Endpoint| endpoint.network.name() == around.bridge.network;
        let unnoted = || Endpoint::on(Network::Named(around.bridge.network.clone())); // of somebody who was killed
        let endpoint = endpoints.iter().find(is_it).cloned().unwrap_or_else(unnoted);
        neighbours::label(record, &endpoint, around.own.cable)?;
    }
    Ok(())
}
