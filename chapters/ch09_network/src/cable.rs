//! A container's cable: one end in the bridge, the other in the container. veth(4), setns(2).
//!
//! Nobody takes a cable away because its container has ended. When the last process of a network namespace has gone, and
//! the last socket in there, the kernel removes the ends in there, and a cable goes with either of its ends, whoever was
//! killed, and however.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;
use log::debug;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::SockProtocol::NetlinkRoute;
use nix::unistd::Pid;

use crate::addresses;
use crate::bridge::Bridge;
use crate::endpoint::Endpoint;
use crate::ipv6::PREFIX;
use crate::links;
use crate::neighbours;
use crate::netlink::Netlink;
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::resolver::Resolver;
use crate::{bridge, files, joined, network, publish, way_out};

/// Where a container is: on this network, with this address.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The network.
    pub bridge: Bridge,
    /// The container's address there.
    pub address: Ipv4Addr,
}

impl Place {
    /// The container's IPv6 address there, if the network has such ones.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.bridge.ipv6.map(|ipv6| ipv6.address(self.address))
    }

    /// All of its addresses there.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.address.into()), self.ipv6().map(IpAddr::from)].into_iter().flatten()
    }
}

/// The inside of a container, as far as its interfaces go.
#[derive(Debug)]
pub struct Inside {
    namespace: File,
    /// A line to the kernel that was opened in there.
    kernel: Netlink,
}

/// Connects the container whose child this is to its networks. The child waits, and has a namespace that nobody else is
/// in.
///
/// Returns what is to stay open as long as it runs.
pub fn connect(plan: &Plan, record: &Record, child: Pid) -> Result<Vec<OwnedFd>> {
    let options = NetworkOptions::of(record)?;
    if *options.network() == Network::Host {
        files::give(plan, record, &options, &[])?;
        return Ok(Vec::new());
    }
    if options.network().other().is_some() {
        joined::give_files(plan, record, &options)?;
        return Ok(Vec::new());
    }
    // A child that has ended has no namespace any more. It has said why, and its status is there for whoever waits for
    // it.
    let Some(namespace) = open_namespace(&child.to_string())? else { return Ok(Vec::new()) };
    let inside = Inside::of(namespace)?;
    links::set_up(&inside.kernel, "lo")?;
    if *options.network() == Network::None {
        files::give(plan, record, &options, &[])?;
        return Ok(Vec::new());
    }
    within(&inside.namespace, way_out::close_through)?;
    let (options, places) = {
        let _held = network::hold()?;
        let options = NetworkOptions::of(record)?; // again: whoever had the lock may have connected it elsewhere
        let plug = |endpoint| plug_in(record, endpoint, &inside);
        let places = options.endpoints().iter().map(plug).collect::<Result<Vec<_>>>()?;
        (options, places)
    };
    files::give(plan, record, &options, &places)?;
    let resolver = within(&inside.namespace, || Resolver::listen(record.id(), options.dns()))?;
    publish::publish(record, &options.ports(), outward(&places), resolver)
}

/// The place of a container that the host's published ports lead to: the first with a way out, for by that its answers
/// find back to whoever asks.
pub fn outward(places: &[Place]) -> Option<&Place> {
    places.iter().find(|place| !place.bridge.is_internal).or(places.first())
}

/// Lays a cable to this network, and makes the container's end ready. Call it with the lock held: nobody takes the bridge
/// away meanwhile.
pub fn plug_in(record: &Record, endpoint: &Endpoint, inside: &Inside) -> Result<Place> {
    let (host, network) = (Netlink::open(NetlinkRoute)?, endpoint.network.name());
    let bridge =
        if network == bridge::DEFAULT { bridge::ensure(&host)? } else { bridge::named(&host, network)? };
    way_out::open(&bridge)?;
    let end = inside.next_end()?;
    let number = lay(&host, &bridge, (record.id(), endpoint), (inside, &end))?;
    let (cable, place) =
        (addresses::cable(&bridge.name, number), Place { address: bridge.subnet.address(number), bridge });
    // The label is last: with it, it's there for everybody.
    let made = inside.make_ready(&end, &place).and_then(|()| label(&host, &cable, record, endpoint));
    // One that isn't complete would stay until the container has ended.
    made.inspect_err(|_| drop(links::delete(&host, &cable)))?;
    Ok(place)
}

/// Takes away what somebody was laying when he was killed: it has no label yet. Call it with the lock held alone: nobody
/// is laying one now.
pub fn clear_half_laid(host: &Netlink, network: &str) -> Result<()> {
    let Some(bridge) = bridge::find(host, network)? else { return Ok(()) };
    for (_, name, label) in links::plugged_in(host, bridge.index)? {
        if label.is_empty() && addresses::number_of(&bridge.name, &name).is_some() {
            links::delete(host, &name)?;
        }
    }
    Ok(())
}

/// So long a cable may be there that is nobody's any more.
const A_MOMENT: Duration = Duration::from_secs(2);

/// Lays a cable, and returns its number, which is the container's address. Who has an address? The kernel knows, for
/// there is never more than one interface of a name: if it is taken, it's the next one's turn.
fn lay(host: &Netlink, bridge: &Bridge, who: (&str, &Endpoint), end: (&Inside, &str)) -> Result<u32> {
    let (id, wanted) = who;
    let Some(ip) = wanted.ip else {
        for number in bridge.subnet.numbers(id) {
            if is_laid(host, bridge, number, wanted, end)? {
                return Ok(number);
            }
        }
        bail!("all addresses of the network of {} are taken", bridge.name)
    };
    let (number, given_up) = (bridge.subnet.number_of(ip)?, Instant::now() + A_MOMENT);
    // It may be that of a container that has just ended; of this one, perhaps.
    while !is_laid(host, bridge, number, wanted, end)? {
        ensure!(Instant::now() < given_up, "{ip} on the network {}: Address already in use", bridge.network);
        sleep(Duration::from_millis(5));
    }
    Ok(number)
}

/// Lays the cable of this number, unless it's there.
fn is_laid(
    host: &Netlink,
    bridge: &Bridge,
    number: u32,
    wanted: &Endpoint,
    (inside, end): (&Inside, &str),
) -> Result<bool> {
    let name = addresses::cable(&bridge.name, number);
    let mac = wanted.mac.unwrap_or(addresses::mac(bridge.subnet.address(number)));
    match links::add_cable(host, &name, bridge.index, (end, mac, inside.namespace.as_fd())) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(Errno::EXFULL) => bail!("the bridge {} has no place for another cable", bridge.name),
        Err(errno) => Err(errno).with_context(|| format!("laying the cable {name}")),
    }
}

fn label(host: &Netlink, cable: &str, record: &Record, endpoint: &Endpoint) -> Result<()> {
    let cable = links::look(host, cable)?.context("the cable has gone already")?;
    neighbours::label(record, endpoint, cable.index)
}

/// Takes the cable of this place away, and with it the end in the container. No error if it has gone.
pub fn take_away(place: &Place) -> Result<()> {
    let name = addresses::cable(&place.bridge.name, place.bridge.subnet.number_of(place.address)?);
    let host = Netlink::open(NetlinkRoute)?;
    links::delete(&host, &name).or_else(|error| match links::look(&host, &name)? {
        Some(_) => Err(error),
        None => Ok(()),
    })
}

impl Inside {
    /// Of the container with this namespace.
    fn of(namespace: File) -> Result<Inside> {
        let kernel = within(&namespace, || Netlink::open(NetlinkRoute))?;
        Ok(Inside { namespace, kernel })
    }

    /// Of the container that has this process.
    pub fn of_running(process1: &Process1) -> Result<Inside> {
        // Not by its number, which may be another's by now.
        Inside::of(within(process1, || open_namespace("self")?.context("it has a network namespace"))?)
    }

    /// What the container's next end is called: `eth0`, `eth1` and so on.
    fn next_end(&self) -> Result<String> {
        let mut number = 0;
        while links::look(&self.kernel, &format!("eth{number}"))?.is_some() {
            number += 1;
        }
        Ok(format!("eth{number}"))
    }

    /// Gives an end its address, and the container its way out.
    fn make_ready(&self, end: &str, place: &Place) -> Result<()> {
        let link = links::look(&self.kernel, end)?.with_context(|| format!("there is no {end}"))?;
        links::set_address(&self.kernel, &link, place.address.into(), place.bridge.subnet.prefix)?;
        within(&self.namespace, || {
            bridge::ignore_routers(end)?; // a neighbour may say that he's one
            place.ipv6().map_or(Ok(()), |_| bridge::open_ipv6(end))
        })?;
        links::set_up(&self.kernel, end)?;
        if let Some(ipv6) = place.ipv6() {
            links::set_address(&self.kernel, &link, ipv6.into(), PREFIX)?;
        }
        self.lead_out(&place.bridge) // last: it's a way over an interface that is up
    }

    /// What is for elsewhere goes by this network, unless there's a way already, or it leads nowhere.
    pub fn lead_out(&self, bridge: &Bridge) -> Result<()> {
        if bridge.is_internal {
            return Ok(());
        }
        let ways = links::routes(&self.kernel)?;
        let has_way = |gateway: &IpAddr| {
            ways.iter().any(|(to, prefix, _)| *prefix == 0 && to.is_ipv4() == gateway.is_ipv4())
        };
        let missing = bridge.gateways().into_iter().filter(|gateway| !has_way(gateway));
        missing.into_iter().try_for_each(|gateway| links::add_default_route(&self.kernel, gateway))
    }
}

/// Where the container of this id is at this moment.
pub fn places(id: &str) -> Result<Vec<Place>> {
    let place = |one: neighbours::Around| Place { address: one.own.address, bridge: one.bridge };
    Ok(neighbours::around(id)?.into_iter().map(place).collect())
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
pub fn within<T>(namespace: impl AsFd, open: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = open_namespace("self")?.context("we have a network namespace")?;
    enter(namespace)?;
    let opened = open();
    enter(own)?;
    opened
}

fn enter(namespace: impl AsFd) -> Result<()> {
    debug!("setns(…, CLONE_NEWNET)");
    setns(namespace, CloneFlags::CLONE_NEWNET).context("entering a network namespace")
}
