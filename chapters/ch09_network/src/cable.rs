//! A container's cable: one end in the bridge, the other in the container. veth(4), setns(2).
//!
//! Nobody ever takes a cable away. When the last process of a network namespace has gone, and the last socket in there,
//! the kernel removes the ends in there, and a cable goes with either of its ends, whoever was killed, and however.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::record::Record;
use log::debug;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::SockProtocol::NetlinkRoute;
use nix::unistd::Pid;

use crate::addresses;
use crate::bridge::Bridge;
use crate::links;
use crate::neighbours::{self, Neighbour};
use crate::netlink::Netlink;
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::resolver::Resolver;
use crate::{bridge, files, network, publish, way_out};

/// How the container calls its end.
const INSIDE: &str = "eth0";

/// Connects the container whose child this is to its network. The child waits, and has a namespace that nobody else is
/// in.
///
/// Returns what is to stay open as long as it runs.
pub fn connect(plan: &Plan, record: &Record, child: Pid) -> Result<Vec<OwnedFd>> {
    let options = NetworkOptions::of(record)?;
    if *options.network() == Network::Host {
        files::give(plan, record, &options, None)?;
        return Ok(Vec::new());
    }
    // A child that has ended has no namespace any more. It has said why, and its status is there for whoever waits for
    // it.
    let Some(namespace) = open_namespace(&child.to_string())? else { return Ok(Vec::new()) };
    let container = within(&namespace, || Netlink::open(NetlinkRoute))?;
    links::set_up(&container, "lo")?;
    let Network::Named(name) = options.network() else {
        files::give(plan, record, &options, None)?;
        return Ok(Vec::new());
    };
    let host = Netlink::open(NetlinkRoute)?;
    let (bridge, number) = plug_in(&host, name, record.id(), &namespace)?;
    let cable =
        links::look(&host, &addresses::cable(&bridge.name, number))?.context("the cable has gone already")?;
    neighbours::label(record, options.aliases(), cable.index)?;
    let end = links::look(&container, INSIDE)?.with_context(|| format!("there is no {INSIDE}"))?;
    let address = bridge.subnet.address(number);
    links::set_address(&container, &end, address, bridge.subnet.prefix)?;
    within(&namespace, || bridge::ignore_routers(INSIDE))?; // a neighbour may say that he's one
    links::set_up(&container, INSIDE)?;
    if !bridge.is_internal {
        links::add_default_route(&container, bridge.subnet.gateway)?; // last: it leads over an interface that is up
    }
    files::give(plan, record, &options, Some((&bridge, address)))?;
    let resolver = within(&namespace, || Resolver::listen(&bridge, options.dns()))?;
    publish::publish(record, options.ports(), (&bridge, address), resolver)
}

/// Lays a cable to the bridge of this network. Until it's there, nobody takes the bridge away.
fn plug_in(host: &Netlink, network: &str, id: &str, namespace: &File) -> Result<(Bridge, u32)> {
    let _held = network::hold()?;
    let bridge =
        if network == bridge::DEFAULT { bridge::ensure(host)? } else { bridge::named(host, network)? };
    way_out::open(&bridge)?;
    let number = lay(host, &bridge, id, namespace)?;
    Ok((bridge, number))
}

/// Lays a cable, and returns its number, which is the container's address. Who has an address? The kernel knows, for
/// there is never more than one interface of a name: if it is taken, it's the next one's turn.
fn lay(host: &Netlink, bridge: &Bridge, id: &str, namespace: &File) -> Result<u32> {
    for number in bridge.subnet.numbers(id) {
        let (name, mac) =
            (addresses::cable(&bridge.name, number), addresses::mac(bridge.subnet.address(number)));
        match links::add_cable(host, &name, bridge.index, (INSIDE, mac, namespace.as_fd())) {
            Ok(()) => return Ok(number),
            Err(Errno::EEXIST) => {}
            Err(Errno::EXFULL) => bail!("the bridge {} has no place for another cable", bridge.name),
            Err(errno) => return Err(errno).with_context(|| format!("laying the cable {name}")),
        }
    }
    bail!("all addresses of the network of {} are taken", bridge.name)
}

/// Where the container of this record is: on which network, and at the end of which cable. `None` if it's nowhere.
pub fn place_of(record: &Record) -> Result<Option<(Bridge, Neighbour)>> {
    let options = NetworkOptions::of(record)?;
    let Network::Named(network) = options.network() else { return Ok(None) };
    let Some(bridge) = bridge::find(&Netlink::open(NetlinkRoute)?, network)? else { return Ok(None) };
    let own = neighbours::all(&bridge)?.into_iter().find(|one| one.id == record.id());
    Ok(own.map(|own| (bridge, own)))
}

/// The network namespace of a process: its number, or `self`. `None` of one that has ended.
fn open_namespace(process: &str) -> Result<Option<File>> {
    let path = format!("/proc/{process}/ns/net");
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).with_context(|| format!("opening {path}")),
    }
}

/// Has something opened in there. It stays there, and we come back.
fn within<T>(namespace: &File, open: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = open_namespace("self")?.context("we have a network namespace")?;
    enter(namespace)?;
    let opened = open();
    enter(&own)?;
    opened
}

fn enter(namespace: &File) -> Result<()> {
    debug!("setns(…, CLONE_NEWNET)");
    setns(namespace, CloneFlags::CLONE_NEWNET).context("entering a network namespace")
}
