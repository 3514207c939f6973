//! The bridge: a switch made of software, that the containers' cables are plugged into. rtnetlink(7).

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use log::{debug, info};
use nix::errno::Errno;

use crate::addresses::{self, BRIDGE, GATEWAY, PREFIX, mac};
use crate::links::{self, Link};
use crate::netlink::Netlink;

/// The bridge, made if it isn't there. It stays when the last container has gone, as Docker's does.
///
/// Others do the same at the same time, perhaps. So each step is one that may have been done already.
pub fn ensure(host: &Netlink) -> Result<Link> {
    // With a hardware address of its own: else it's the lowest one of what is plugged in, another one with each container,
    // and those that have written down the old one send to somebody who's gone.
    match links::add_bridge(host, BRIDGE, mac(GATEWAY)) {
        Ok(()) => info!("made the bridge {BRIDGE}, which stays: ip link delete {BRIDGE} takes it away"),
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).with_context(|| format!("making the bridge {BRIDGE}")),
    }
    let link = links::look(host, BRIDGE)?;
    let link = link.with_context(|| format!("the bridge {BRIDGE} has been taken away just now"))?;
    // Somebody else's is left alone, whatever it's called.
    ensure!(
        link.kind == "bridge" && link.mac == mac(GATEWAY),
        "there is an interface {BRIDGE} that isn't ours; with --network none the container needs none"
    );
    ensure_free(host, &link)?;
    ignore_routers()?; // before it's up
    links::set_address(host, &link, GATEWAY, PREFIX)?;
    links::set_up(host, BRIDGE)?;
    Ok(link)
}

/// Fails if the host has another way to our addresses: ours would hide it, and with it somebody's machines. A way that is wide,
/// as that of a VPN to half of the private addresses, loses only a few of them.
fn ensure_free(host: &Netlink, bridge: &Link) -> Result<()> {
    const WIDE: u8 = 16;
    let way = links::way(host, addresses::address(2))?;
    let is_taken = way.is_some_and(|(prefix, by)| prefix >= WIDE && by != bridge.index);
    ensure!(
        !is_taken,
        "the host has a way to {GATEWAY}/{PREFIX} already; with --network none the container needs none"
    );
    Ok(())
}

/// By IPv6 whoever is on a network may say that he's its router, and the host would send its packets to a container.
fn ignore_routers() -> Result<()> {
    let file = format!("/proc/sys/net/ipv6/conf/{BRIDGE}/accept_ra");
    let said = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // there's no IPv6
        said => said.with_context(|| format!("reading {file}"))?,
    };
    if said.trim() != "0" {
        debug!("write({file:?}, \"0\")");
        fs::write(&file, "0").with_context(|| format!("writing 0 to {file}"))?;
    }
    Ok(())
}
