//! Ports of the host that lead into a container: a process for whoever is on the host, and rules for the rest.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use ch07_lifecycle::record::Record;

use crate::files::Place;
use crate::ports::{Port, Protocol};
use crate::resolver::Resolver;
use crate::rules::{self, Redirection};
use crate::{beside, conntrack, proxy};

/// The fact that says which ports of the host it really is, while the container runs.
pub const PUBLISHED: &str = "published";

/// Publishes these ports, and starts the process for them and for the container's name server. It's in force as long as
/// what this returns is open.
pub fn publish<'a>(
    record: &Record,
    ports: impl Iterator<Item = &'a Port>,
    (bridge, container): Place<'_>,
    resolver: Resolver,
) -> Result<Vec<OwnedFd>> {
    let (mut doors, mut redirections, mut shown) = (Vec::new(), Vec::new(), String::new());
    for port in ports {
        let door = proxy::open(port, container)?;
        let host = door.listener.address().context("looking which port it is")?;
        redirections.extend(redirection(port, host.port()));
        shown.push_str(&port.shown(host));
        doors.push(door);
    }
    // First the process, which must not have a copy of the socket that the rules belong to.
    let listeners = doors.iter().map(|door| door.listener.descriptor());
    let open: Vec<_> = listeners.chain(resolver.descriptors()).collect();
    let beside = beside::start(&open, || {
        resolver.serve()?;
        doors.into_iter().try_for_each(proxy::serve)
    })?;
    let name = format!("{}-{}", bridge.name, record.id());
    // Out of an internal network no answer finds its way back to a client: the process asks with the host's address.
    let redirections = if bridge.is_internal { Vec::new() } else { redirections };
    let table = rules::redirect(&name, &bridge.name, container, &redirections)?;
    let by_udp = redirections.iter().filter(|port| port.protocol == Protocol::Udp);
    conntrack::forget(&by_udp.map(|port| port.host).collect::<Vec<_>>())?; // last: now the rules hold
    if !shown.is_empty() {
        record.write(PUBLISHED, shown.trim_end())?;
    }
    Ok([Some(beside), table].into_iter().flatten().collect())
}

/// What comes from outside by IPv4. Nothing from there is for a loopback address.
fn redirection(port: &Port, host: u16) -> Option<Redirection> {
    let to = match port.ip {
        Some(IpAddr::V6(_)) => return None,
        Some(IpAddr::V4(ip)) if ip.is_loopback() => return None,
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => Some(ip),
        _ => None,
    };
    Some(Redirection { to, host, inside: port.inside, protocol: port.protocol })
}
