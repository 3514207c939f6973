//! The way to the rest of the world: the host is a router, and its containers have its address. ip(7).

use std::fs;

use anyhow::{Context, Result};
use log::{debug, info};

use crate::bridge::Bridge;
use crate::rules;

/// Whether the host hands on what is for others.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Sees to it that a container hands on nothing. A new namespace does what the machine's does, and whoever is on two
/// networks would be a way from one to the other. Call it in there.
pub fn close_through() -> Result<()> {
    debug!("write({FORWARD:?}, \"0\")");
    fs::write(FORWARD, "0").with_context(|| format!("writing 0 to the container's {FORWARD}"))
}

/// Opens it, if it isn't open. It stays open when the container has ended.
pub fn open(bridge: &Bridge) -> Result<()> {
    let name = &bridge.name;
    // First the rules: without them packets would leave with an address that nobody outside has heard of, and come in
    // from everywhere.
    if rules::of_network(bridge)? {
        info!("made the table {name} of nftables, which stays: nft delete table ip {name} takes it away");
    }
    if bridge.is_internal {
        return Ok(());
    }
    let before = fs::read_to_string(FORWARD).with_context(|| format!("reading {FORWARD}"))?;
    if before.trim() == "0" {
        debug!("write({FORWARD:?}, \"1\")");
        fs::write(FORWARD, "1").with_context(|| format!("writing 1 to {FORWARD}"))?;
        info!("set {FORWARD} to 1, which stays");
    }
    Ok(())
}
