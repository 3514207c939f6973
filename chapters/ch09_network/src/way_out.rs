//! The way to the rest of the world: the host is a router, and its containers have its address. ip(7).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use log::{debug, info};

use crate::bridge::Bridge;
use crate::rules;

/// Whether the host hands on what is for others.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The same of IPv6's packets.
const FORWARD_IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Sees to it that a container hands on nothing. A new namespace does what the machine's does, and whoever is on two
/// networks would be a way from one to the other. Call it in there.
pub fn close_through() -> Result<()> {
    debug!("write({FORWARD:?}, \"0\")");
    fs::write(FORWARD, "0").with_context(|| format!("writing 0 to the container's {FORWARD}"))?;
    // Of IPv6 it's closed anyway, unless the machine has another setting for that.
    if Path::new(FORWARD_IPV6).exists() && says(FORWARD_IPV6)? != "0" {
        debug!("write({FORWARD_IPV6:?}, \"0\")");
        fs::write(FORWARD_IPV6, "0")
            .with_context(|| format!("writing 0 to the container's {FORWARD_IPV6}"))?;
    }
    Ok(())
}

/// Opens it, if it isn't open. It stays open when the container has ended.
pub fn open(bridge: &Bridge) -> Result<()> {
    let name = &bridge.name;
    // First the rules: without them packets would leave with an address that nobody outside has heard of, and come in
    // from everywhere.
    for (family, network) in rules::networks(bridge) {
        if rules::of_network(bridge, (family, &network))? {
            let table = format!("{} {name}", family.name());
            info!("made the table {name} of nftables, which stays: nft delete table {table} takes it away");
        }
    }
    if bridge.is_internal {
        return Ok(());
    }
    if says(FORWARD)? == "0" {
        change(FORWARD, "1")?;
    }
    if bridge.ipv6.is_some() && says(FORWARD_IPV6)? == "0" {
        listen_on()?; // before the kernel forgets what routers have told it
        change(FORWARD_IPV6, "1")?;
    }
    Ok(())
}

/// A machine that hands on packets of IPv6 is a router, and a router doesn't listen to others: it would lose its own way
/// out, where a router told it that one. So whoever listens is to do so all the same, and so is each interface to come.
fn listen_on() -> Result<()> {
    const ALL: &str = "/proc/sys/net/ipv6/conf";
    for interface in fs::read_dir(ALL).with_context(|| format!("reading {ALL}"))? {
        let interface = interface.with_context(|| format!("reading {ALL}"))?.path();
        let said = |what: &str| fs::read_to_string(interface.join(what)).unwrap_or_default(); // it may just have gone
        // One that's a router's already doesn't listen at 1.
        if said("accept_ra").trim() == "1" && said("forwarding").trim() == "0" {
            change(interface.join("accept_ra"), "2")?;
        }
    }
    Ok(())
}

/// What such a file says.
fn says(file: impl AsRef<Path>) -> Result<String> {
    let (file, shown) = (file.as_ref(), file.as_ref().display());
    Ok(fs::read_to_string(file).with_context(|| format!("reading {shown}"))?.trim().to_string())
}

/// Sets what the kernel does.
fn change(file: impl AsRef<Path>, to: &str) -> Result<()> {
    let (file, shown) = (file.as_ref(), file.as_ref().display());
    debug!("write({file:?}, \"{to}\")");
    fs::write(file, to).with_context(|| format!("writing {to} to {shown}"))?;
    info!("set {shown} to {to}, which stays");
    Ok(())
}
