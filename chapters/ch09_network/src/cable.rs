//! A container's cable: one end in the bridge, the other in the container. veth(4), setns(2).
//!
//! Nobody ever takes a cable away. When the last process of a network namespace has gone, the kernel removes the ends in there,
//! and a cable goes with either of its ends, whoever was killed, and however.

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

use crate::addresses::{self, BRIDGE, GATEWAY, PREFIX};
use crate::links::{self, Link};
use crate::netlink::Netlink;
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::resolver::Resolver;
use crate::{bridge, files, neighbours, publish, way_out};

/// How the container calls its end.
const INSIDE: &str = "eth0";

/// Connects the container whose child this is to its network. The child waits, and has a namespace that nobody else is in.
///
/// Returns what is to stay open as long as it runs.
pub fn connect(plan: &Plan, record: &Record, child: Pid) -> Result<Vec<OwnedFd>> {
    let options = NetworkOptions::of(record)?;
    if options.network() == Network::Host {
        files::give(plan, record, &options, None)?;
        return Ok(Vec::new());
    }
    // A child that has ended has no namespace any more. It has said why, and its status is there for whoever waits for it.
    let Some(namespace) = open_namespace(&child.to_string())? else { return Ok(Vec::new()) };
    let container = within(&namespace, || Netlink::open(NetlinkRoute))?;
    links::set_up(&container, "lo")?;
    if options.network() == Network::None {
        files::give(plan, record, &options, None)?;
        return Ok(Vec::new());
    }
    let host = Netlink::open(NetlinkRoute)?;
    let bridge = bridge::ensure(&host)?;
    way_out::open()?;
    let number = lay(&host, &bridge, record.id(), &namespace)?;
    links::set_alias(&host, &addresses::cable(number), &neighbours::text(record, options.aliases())?)?;
    let end = links::look(&container, INSIDE)?.with_context(|| format!("there is no {INSIDE}"))?;
    let address = addresses::address(number);
    links::set_address(&container, &end, address, PREFIX)?;
    links::set_up(&container, INSIDE)?;
    links::add_default_route(&container, GATEWAY)?; // last: it leads over an interface that is up
    files::give(plan, record, &options, Some(address))?;
    let resolver = within(&namespace, || Resolver::listen(options.dns()))?;
    publish::publish(record, options.ports(), address, resolver)
}

/// Lays a cable, and returns its number, which is the container's address. Who has an address? The kernel knows, for there is
/// never more than one interface of a name: if it is taken, it's the next one's turn.
fn lay(host: &Netlink, bridge: &Link, id: &str, namespace: &File) -> Result<u8> {
    for number in addresses::numbers(id) {
        let (name, mac) = (addresses::cable(number), addresses::mac(addresses::address(number)));
        match links::add_cable(host, &name, bridge.index, (INSIDE, mac, namespace.as_fd())) {
            Ok(()) => return Ok(number),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).with_context(|| format!("laying the cable {name}")),
        }
    }
    bail!("all addresses of the network of {BRIDGE} are taken")
}

/// The number of the cable of the container that this process is in. `None` if it has none, or not any more.
pub fn number_of(process: Pid) -> Result<Option<u8>> {
    let Some(namespace) = open_namespace(&process.to_string())? else { return Ok(None) };
    let container = within(&namespace, || Netlink::open(NetlinkRoute))?;
    let Some(end) = links::look(&container, INSIDE)? else { return Ok(None) };
    let name = links::name_of(&Netlink::open(NetlinkRoute)?, end.other)?;
    Ok(name.and_then(|name| addresses::number_of(&name)))
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
