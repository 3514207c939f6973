//! A bridge: a switch made of software, that the cables of a network's containers are plugged into. rtnetlink(7).
//!
//! It's all that there is of a network: its number says its name, its alias how people call it, its address which ones
//! it has.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use log::{debug, info};
use nix::errno::Errno;

use crate::addresses::{BRIDGES, Subnet, mac};
use crate::ipv6::{PREFIX, Prefix};
use crate::links::{self, Link};
use crate::netlink::Netlink;
use crate::rules;

/// How people call the network that's made when the first container wants it.
pub const DEFAULT: &str = "bridge";

/// What is behind the name of a network, in the bridge's alias, if nothing leads out of there.
const INTERNAL: &str = "internal";

/// A network of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// How people call the network.
    pub network: String,
    /// How the kernel calls the bridge.
    pub name: String,
    /// Its number there.
    pub index: u32,
    /// Its addresses.
    pub subnet: Subnet,
    /// Its IPv6 addresses, if it has some.
    pub ipv6: Option<Prefix>,
    /// Whether it leads to nobody else.
    pub is_internal: bool,
}

/// What a new network is to be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// How people will call it.
    pub network: &'a str,
    /// Its addresses. `None`: some that are free.
    pub subnet: Option<Subnet>,
    /// Its IPv6 addresses, if it's to have some.
    pub ipv6: Option<Prefix>,
    /// Whether it's to lead to nobody else.
    pub is_internal: bool,
}

impl Bridge {
    /// The host's own addresses in there.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let ipv6 = self.ipv6.map(|ipv6| ipv6.address(self.subnet.gateway).into());
        [Some(self.subnet.gateway.into()), ipv6].into_iter().flatten().collect()
    }
}

/// How the kernel calls the bridge of this number.
fn name(number: u8) -> String {
    format!("{BRIDGES}{number}")
}

/// The default network's bridge, made if it isn't there. It stays when the last container has gone, as Docker's does.
///
/// Others do the same at the same time, perhaps. So each step is one that may have been done already.
pub fn ensure(host: &Netlink) -> Result<Bridge> {
    let (name, subnet) = (name(0), Subnet::numbered(0));
    add(host, &name, subnet)?;
    let link = links::look(host, &name)?;
    let link = link.with_context(|| format!("the bridge {name} has been taken away just now"))?;
    // Somebody else's is left alone, whatever it's called.
    ensure!(
        is_ours(&link, subnet),
        "there is an interface {name} that isn't ours; with --network none the container needs none"
    );
    ensure!(
        !is_taken(host, subnet.gateway.into(), subnet.prefix, Some(link.index))?,
        "the host has a way to {subnet} already; with --network none the container needs none"
    );
    complete(
        host,
        &link,
        Bridge {
            network: DEFAULT.to_string(),
            name,
            index: link.index,
            subnet,
            ipv6: None,
            is_internal: false,
        },
    )
}

/// Makes a network. Call it with the lock held, and a name that no other has.
pub fn create(host: &Netlink, wanted: &Wanted<'_>) -> Result<Bridge> {
    clear_half_made(host)?;
    // The default one's addresses are taken even before it's there.
    let others: Vec<_> =
        all(host)?.into_iter().map(|other| other.subnet).chain([Subnet::numbered(0)]).collect();
    let is_free = |subnet: Subnet| -> Result<bool> {
        let is_others = others.iter().any(|other| other.overlaps(&subnet));
        Ok(!is_others && !is_taken(host, subnet.gateway.into(), subnet.prefix, None)?)
    };
    if let Some(subnet) = wanted.subnet {
        ensure!(is_free(subnet)?, "the host has a way to {subnet} already");
    }
    if let Some(ipv6) = wanted.ipv6 {
        let some = ipv6.address(Subnet::numbered(0).gateway).into();
        ensure!(!is_taken(host, some, PREFIX, None)?, "the host has a way to {ipv6} already");
    }
    for number in 1..=u8::MAX {
        let subnet = wanted.subnet.unwrap_or(Subnet::numbered(number));
        if (wanted.subnet.is_none() && !is_free(subnet)?) || !add(host, &name(number), subnet)? {
            continue;
        }
        let (name, network) = (name(number), wanted.network.to_string());
        let link = links::look(host, &name)?
            .with_context(|| format!("the bridge {name} has been taken away just now"))?;
        let Wanted { ipv6, is_internal, .. } = *wanted;
        let bridge = Bridge { network, index: link.index, subnet, ipv6, is_internal, name };
        // If somebody has only deleted an older bridge of that name, its rules are there still, and they aren't this
        // one's.
        let completed = rules::remove(&bridge.name).and_then(|()| complete(host, &link, bridge.clone()));
        return completed.inspect_err(|_| {
            let _ = links::delete(host, &bridge.name); // it's not complete, and the error is said
        });
    }
    bail!("there are {} networks already", u8::MAX)
}

/// Makes it. Returns whether it wasn't there.
fn add(host: &Netlink, name: &str, subnet: Subnet) -> Result<bool> {
    // With a hardware address of its own: else it's the lowest one of what is plugged in, another one with each
    // container, and those that have written down the old one send to somebody who's gone.
    match links::add_bridge(host, name, mac(subnet.gateway)) {
        Ok(()) => info!("made the bridge {name}, which stays: ip link delete {name} takes it away"),
        Err(Errno::EEXIST) => return Ok(false),
        Err(errno) => return Err(errno).with_context(|| format!("making the bridge {name}")),
    }
    Ok(true)
}

/// Gives it what it needs. The name that people know comes late: with it, it's there for everybody.
fn complete(host: &Netlink, link: &Link, bridge: Bridge) -> Result<Bridge> {
    ignore_routers(&bridge.name)?; // before it's up
    match bridge.ipv6 {
        None => close_ipv6(&bridge.name)?,
        Some(_) => open_ipv6(&bridge.name)?,
    }
    links::set_address(host, link, bridge.subnet.gateway.into(), bridge.subnet.prefix)?;
    links::set_up(host, &bridge.name)?;
    if let Some(ipv6) = bridge.ipv6 {
        links::set_address(host, link, ipv6.address(bridge.subnet.gateway).into(), PREFIX)?;
    }
    let network = bridge.network.clone();
    let alias = if bridge.is_internal { [&network, INTERNAL].join(" ") } else { network };
    links::set_alias(host, bridge.index, &alias)?;
    Ok(bridge)
}

/// What somebody was making when he was killed: it has no alias yet. Call it with the lock held alone: nobody is making
/// one now.
fn clear_half_made(host: &Netlink) -> Result<()> {
    for (name, link, alias) in links::bridges(host)? {
        let number = name.strip_prefix(BRIDGES).and_then(|number| number.parse::<u8>().ok());
        let is_half = alias.is_empty() && link.mac.starts_with(&[0x02, 0x42]);
        let is_new = number.is_some_and(|number| number > 0) && is_half;
        if is_new && links::plugged_in(host, link.index)?.is_empty() {
            rules::remove(&name)?;
            links::delete(host, &name)?;
        }
    }
    Ok(())
}

fn is_ours(link: &Link, subnet: Subnet) -> bool {
    link.kind == "bridge" && link.mac == mac(subnet.gateway)
}

/// Whether the host has another way to the addresses that share so many bits with this one than by its own interface:
/// ours would hide it, and with it somebody's machines. A way that is wide, as that of a VPN to half of the private
/// addresses, loses only a few of them.
fn is_taken(host: &Netlink, some: IpAddr, bits: u8, own: Option<u32>) -> Result<bool> {
    const WIDE: u8 = 16;
    let leads_there = |to: IpAddr, prefix: u8| {
        let same = match (to, some) {
            (IpAddr::V4(to), IpAddr::V4(some)) => (to.to_bits() ^ some.to_bits()).leading_zeros(),
            (IpAddr::V6(to), IpAddr::V6(some)) => (to.to_bits() ^ some.to_bits()).leading_zeros(),
            _ => return false,
        };
        same >= u32::from(prefix.min(bits))
    };
    let other = |by: Option<u32>| by.is_none() || by != own;
    let routes = links::routes(host)?;
    Ok(routes.into_iter().any(|(to, prefix, by)| prefix >= WIDE && other(by) && leads_there(to, prefix)))
}

/// By IPv6 whoever is on a network may say that he's its router, and the host would send its packets to a container.
pub fn ignore_routers(interface: &str) -> Result<()> {
    set_ipv6(interface, "accept_ra", "0").map(drop)
}

/// By IPv6 an interface has an address even if nobody gives it one, and a network without IPv6 has no rules for it.
fn close_ipv6(bridge: &str) -> Result<()> {
    set_ipv6(bridge, "disable_ipv6", "1").map(drop)
}

/// Has an interface use IPv6 even where the machine's new interfaces don't, and at once: else the kernel asks for a
/// second or two whether somebody has its address on the cable, and asks for nobody's hardware address meanwhile. Nor
/// does it forget the addresses when somebody sets the interface down: the network's are written down nowhere else.
pub fn open_ipv6(interface: &str) -> Result<()> {
    for (what, to) in [("accept_dad", "0"), ("keep_addr_on_down", "1"), ("disable_ipv6", "0")] {
        ensure!(set_ipv6(interface, what, to)?, "the kernel has no IPv6");
    }
    Ok(())
}

/// Sets what the kernel does with IPv6 at an interface, unless it does so. Returns whether there is any IPv6.
fn set_ipv6(interface: &str, what: &str, to: &str) -> Result<bool> {
    let file = format!("/proc/sys/net/ipv6/conf/{interface}/{what}");
    let said = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        said => said.with_context(|| format!("reading {file}"))?,
    };
    if said.trim() != to {
        debug!("write({file:?}, {to:?})");
        fs::write(&file, to).with_context(|| format!("writing {to} to {file}"))?;
    }
    Ok(true)
}

/// All networks that are there, in the order in which they were made.
pub fn all(host: &Netlink) -> Result<Vec<Bridge>> {
    let addresses = links::addresses(host)?;
    let mut found = Vec::new();
    for (name, link, alias) in links::bridges(host)? {
        let number = name.strip_prefix(BRIDGES).and_then(|number| number.parse::<u8>().ok());
        let of_it = || addresses.iter().filter(|(index, ..)| *index == link.index);
        let subnet = of_it().find_map(|(_, address, prefix)| match address {
            IpAddr::V4(gateway) if [16, 24].contains(prefix) => {
                Some(Subnet { gateway: *gateway, prefix: *prefix })
            }
            _ => None,
        });
        let Some(subnet) = subnet else { continue };
        let ipv6 = of_it().find_map(|(_, address, prefix)| match address {
            IpAddr::V6(made) if *prefix == PREFIX => Prefix::of(subnet.gateway, *made),
            _ => None,
        });
        let (network, is_internal) = match alias.split_once(' ') {
            Some((network, INTERNAL)) => (network.to_string(), true),
            _ => (alias, false),
        };
        if number.is_some() && is_ours(&link, subnet) && !network.is_empty() {
            found.push(Bridge { network, name, index: link.index, subnet, ipv6, is_internal });
        }
    }
    found.sort_by_key(|bridge| bridge.index);
    Ok(found)
}

/// The network of this name. Fails if there is none.
pub fn named(host: &Netlink, network: &str) -> Result<Bridge> {
    find(host, network)?.with_context(|| format!("No such network: {network}"))
}

/// The same, if it's there.
pub fn find(host: &Netlink, network: &str) -> Result<Option<Bridge>> {
    Ok(all(host)?.into_iter().find(|bridge| bridge.network == network))
}
