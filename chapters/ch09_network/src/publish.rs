//! Ports of the host that lead into a container: a process for whoever is on the host, and rules for the rest.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use ch07_lifecycle::record::Record;
use log::warn;

use crate::cable::Place;
use crate::ports::{Port, Protocol};
use crate::resolver::Resolver;
use crate::rules::{self, Redirection};
use crate::{beside, conntrack, proxy};

/// The fact that says, while the container runs, on which of its networks the ports are, and which ones of the host it
/// really is.
const PUBLISHED: &str = "published";

/// The network by which a container's ports are published, and of each port the line that `port` prints. `None` if none
/// is.
pub fn published(record: &Record) -> Result<Option<(String, String)>> {
    let fact = record.read(PUBLISHED)?;
    Ok(fact.and_then(|fact| {
        fact.split_once('\n').map(|(network, lines)| (network.to_string(), lines.to_string()))
    }))
}

/// Publishes these ports, and starts the process for them and for the container's name server. It's in force as long as
/// what this returns is open. The ports lead to this place of the container's.
pub fn publish(
    record: &Record,
    ports: &[Port],
    place: Option<&Place>,
    resolver: Resolver,
) -> Result<Vec<OwnedFd>> {
    let (mut doors, mut redirections, mut shown) = (Vec::new(), Vec::new(), String::new());
    if place.is_none() && !ports.is_empty() {
        warn!("the container is on no network any more, so no port leads to it");
    }
    let doors_wanted = place.into_iter().flat_map(|place| ports.iter().map(|port| (port, place.address)));
    for (port, container) in doors_wanted {
        let door = proxy::open(port, container)?;
        let host = door.listener.address().context("looking which port it is")?;
        let place = place.into_iter();
        redirections.extend(place.flat_map(|place| redirected(port, host.port(), place)));
        shown.push_str(&port.shown(host));
        doors.push(door);
    }
    // First the process, which must not have a copy of the socket that the rules belong to.
    let listeners = doors.iter().map(|door| door.listener.descriptor());
    let open: Vec<_> = listeners.chain(resolver.descriptors()).collect();
    let by_udp = redirections.iter().filter(|port| port.protocol == Protocol::Udp);
    let by_udp: Vec<_> = by_udp.map(|port| (port.to, port.host)).collect();
    let serve = || {
        resolver.serve()?;
        doors.into_iter().try_for_each(proxy::serve)
    };
    // When the rules are gone as well: nobody is to be led to whoever has the address next.
    let last = || drop(conntrack::forget(&by_udp)); // nobody is there who'd hear of an error
    let beside = beside::start(&open, serve, last)?;
    // Out of an internal network no answer finds its way back to a client: the process asks with the host's address.
    let leads_out = place.filter(|place| !place.bridge.is_internal);
    let table = leads_out.map_or(Ok(None), |place| rules::redirect(record.id(), place, &redirections))?;
    // After the rules, which hold for what comes from now on.
    if let Err(error) = conntrack::forget(&by_udp) {
        warn!("whoever goes on sending from outside may be led to an older container: {error:#}");
    }
    if let Some(place) = place.filter(|_| !shown.is_empty()) {
        record.write(PUBLISHED, format!("{}\n{}", place.bridge.network, shown.trim_end()))?;
    }
    Ok([table, Some(beside)].into_iter().flatten().collect()) // closed in this order
}

/// What comes from outside, by IPv4 and by IPv6. Nothing from there is for a loopback address.
fn redirected(port: &Port, host: u16, place: &Place) -> Vec<Redirection> {
    let meant = |container: &IpAddr| {
        port.ip.is_none_or(|ip| ip.is_ipv4() == container.is_ipv4() && !ip.is_loopback())
    };
    let to = port.ip.filter(|ip| !ip.is_unspecified());
    let redirection =
        |container| Redirection { to, host, container, inside: port.inside, protocol: port.protocol };
    place.addresses().filter(meant).map(redirection).collect()
}
