//! The bridge: a switch made of software, that the containers' cables are plugged into. rtnetlink(7).

use anyhow::{Context, Result, ensure};
use log::info;
use nix::errno::Errno;

use crate::addresses::{BRIDGE, GATEWAY, PREFIX, mac};
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
    links::set_address(host, &link, GATEWAY, PREFIX)?;
    links::set_up(host, BRIDGE)?;
    Ok(link)
}
