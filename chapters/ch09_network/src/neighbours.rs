//! Who is on the network, and by which names: rtnetlink(7).
//!
//! There's no list of them. Each cable carries its container's names: the kernel keeps a text with an interface, its
//! alias, and forgets it when the cable goes. So a name is nobody's a moment after its container has ended, by whatever
//! death.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use anyhow::Result;
use ch07_lifecycle::record::Record;
use nix::sys::socket::SockProtocol::NetlinkRoute;

use crate::addresses;
use crate::bridge::{self, Bridge};
use crate::endpoint::Endpoint;
use crate::links::{self, Cable, Mac};
use crate::netlink::Netlink;

/// A container on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: Ipv4Addr,
    /// The number of its cable.
    pub cable: u32,
    /// Its id.
    pub id: String,
    /// The name that it has, if it has one.
    pub name: Option<String>,
    /// Its hardware address.
    pub mac: Mac,
    aliases: Vec<String>,
}

/// A network that a container is on.
#[derive(Debug)]
pub struct Around {
    /// The network.
    pub bridge: Bridge,
    /// The container itself.
    pub own: Neighbour,
    /// Everybody who is there.
    pub all: Vec<Neighbour>,
}

/// What stands in the place of a name that there's not, or that nobody could ask for.
const NAMELESS: &str = "-";

/// So long a part of a name may be, between its dots: RFC 1035.
pub const LONGEST_LABEL: usize = 63;

/// So long the aliases may be, with a space before each: what the kernel keeps, less an id, a name and a hardware
/// address.
pub const LONGEST_ALIASES: usize = 255 - 12 - 1 - LONGEST_LABEL - " 02:42:ac:1e:00:01".len();

/// Labels the cable of this number: it's this container's.
pub fn label(record: &Record, endpoint: &Endpoint, cable: u32) -> Result<()> {
    let host = Netlink::open(NetlinkRoute)?;
    loop {
        let label = text(record, endpoint)?;
        links::set_alias(&host, cable, &label)?;
        // Somebody may just have given it another name, and written his label first.
        if text(record, endpoint)? == label {
            return Ok(());
        }
    }
}

/// What the label says: the container's id, its name, its hardware address if somebody has chosen it, its aliases. Longer
/// names aren't found, for nobody can ask for them.
fn text(record: &Record, endpoint: &Endpoint) -> Result<String> {
    let name = record.read("name")?.filter(|name| name.len() <= LONGEST_LABEL);
    let mut words = vec![record.id().to_string(), name.unwrap_or_else(|| NAMELESS.to_string())];
    words.extend(endpoint.mac.map(links::shown));
    words.extend_from_slice(&endpoint.aliases);
    Ok(words.join(" "))
}

/// Understands such a text.
fn parse(cable: u32, address: Ipv4Addr, text: &str) -> Option<Neighbour> {
    let mut words = text.split(' ').map(str::to_string);
    let (id, name) = (words.next()?, words.next()?);
    let name = Some(name).filter(|name| name != NAMELESS);
    let mut aliases: Vec<_> = words.collect();
    let chosen = aliases.first().filter(|word| word.contains(':')); // no alias has one
    let chosen = chosen.and_then(|word| addresses::parse_mac(word).ok());
    if chosen.is_some() {
        aliases.remove(0);
    }
    let mac = chosen.unwrap_or_else(|| addresses::mac(address));
    Some(Neighbour { cable, address, id, name, mac, aliases })
}

/// All that are on the network at this moment, the newest first.
pub fn all(bridge: &Bridge) -> Result<Vec<Neighbour>> {
    Ok(behind(bridge, links::plugged_in(&Netlink::open(NetlinkRoute)?, bridge.index)?))
}

/// Those at the other ends of these cables, the newest first.
fn behind(bridge: &Bridge, mut cables: Vec<Cable>) -> Vec<Neighbour> {
    cables.sort_by_key(|(index, ..)| Reverse(*index)); // each interface gets a higher number than the last one
    let known = cables.iter().filter_map(|(index, cable, text)| {
        let number = addresses::number_of(&bridge.name, cable)?;
        parse(*index, bridge.subnet.address(number), text)
    });
    // One that has been started again may have its last cable for another moment.
    let mut seen = BTreeSet::new();
    known.filter(|one| seen.insert(one.id.clone())).collect()
}

/// The networks that the container of this id is on at this moment, in the order in which it was connected.
pub fn around(id: &str) -> Result<Vec<Around>> {
    let kernel = Netlink::open(NetlinkRoute)?;
    let mut cables: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (bridge, cable) in links::cables(&kernel)? {
        cables.entry(bridge).or_default().push(cable);
    }
    let mut found = Vec::new();
    for bridge in bridge::all(&kernel)? {
        let all = behind(&bridge, cables.remove(&bridge.index).unwrap_or_default());
        if let Some(own) = all.iter().find(|one| one.id == id).cloned() {
            found.push(Around { bridge, own, all });
        }
    }
    found.sort_by_key(|around| around.own.cable);
    Ok(found)
}

/// The addresses of those that are called so. An id and a name are one container's, the newest's; an alias may be that of
/// several.
pub fn addresses(all: &[Neighbour], name: &str) -> Vec<Ipv4Addr> {
    let is_it = |text: &String| text.eq_ignore_ascii_case(name);
    if let Some(one) = all.iter().find(|one| is_it(&one.id) || one.name.as_ref().is_some_and(is_it)) {
        return vec![one.address];
    }
    all.iter().filter(|one| one.aliases.iter().any(is_it)).map(|one| one.address).collect()
}

/// How the one with this address is called.
pub fn name_of(all: &[Neighbour], address: Ipv4Addr) -> Option<&str> {
    let one = all.iter().find(|one| one.address == address)?;
    Some(one.name.as_ref().unwrap_or(&one.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(number: u8, text: &str) -> Neighbour {
        parse(0, [172, 30, 0, number].into(), text).unwrap()
    }

    #[test]
    fn a_name_is_the_newest_containers_and_an_alias_everybodys() {
        let all = [
            on(9, "0123456789ab web db"),
            on(3, "ab0123456789 web 02:42:00:00:00:07"),
            on(4, "cccccccccccc - 02-42-00-00-00-07 db Db2"),
        ];
        let numbers =
            |name| -> Vec<u8> { addresses(&all, name).iter().map(|address| address.octets()[3]).collect() };
        assert_eq!(numbers("WEB"), [9]);
        assert_eq!(numbers("ab0123456789"), [3]);
        assert_eq!(numbers("db"), [9, 4]);
        assert_eq!(numbers("db2"), [4]);
        assert_eq!(numbers("-"), [0; 0]);
        assert_eq!(numbers(""), [0; 0]);
        let names = [9, 4, 5].map(|number| name_of(&all, [172, 30, 0, number].into()));
        assert_eq!(names, [Some("web"), Some("cccccccccccc"), None]);
        let macs = all.map(|one| one.mac[5]);
        assert_eq!(macs, [9, 7, 4]);
    }
}
