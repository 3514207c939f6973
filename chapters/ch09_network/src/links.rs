//! Interfaces, addresses and routes: rtnetlink(7), ip(8).
//!
//! Each function is a command of ip(8), which sends the kernel the same bytes.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc::{
    AF_INET, AF_INET6, AF_UNSPEC, IFA_ADDRESS, IFA_F_NODAD, IFA_LOCAL, IFF_UP, IFLA_ADDRESS, IFLA_EXT_MASK,
    IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_FD,
    NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTA_DST,
    RTA_GATEWAY, RTA_OIF, RTM_DELLINK, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWROUTE, RTN_UNICAST, RTPROT_STATIC,
};

use crate::netlink::{Netlink, Request, attribute};

/// A hardware address.
pub type Mac = [u8; 6];

/// An interface, as far as it matters here.
#[derive(Debug)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// What made it: `bridge`, `veth` and so on.
    pub kind: String,
    /// Its hardware address.
    pub mac: Vec<u8>,
}

/// Of a cable the number, the name and the alias.
pub type Cable = (u32, String, String);

/// As everybody writes it: `02:42:ac:1e:00:01`.
pub fn shown(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The other end of a cable: VETH_INFO_PEER in linux/veth.h.
const PEER: u16 = 1;

/// `struct ifinfomsg`: which interface, and which of its flags are to be set. Number 0 is one that has a name only.
fn interface(index: u32, flags: i32) -> Vec<u8> {
    let flags = (flags as u32).to_ne_bytes();
    [&[0; 4], &index.to_ne_bytes()[..], &flags, &flags].concat() // the last are those that change
}

/// `ip link show NAME`. `None` if there is none of this name.
pub fn look(kernel: &Netlink, name: &str) -> Result<Option<Link>> {
    let request = Request::new(RTM_GETLINK, 0, &interface(0, 0)).with_text(IFLA_IFNAME, name);
    let found = match kernel.look_up(request) {
        Err(Errno::ENODEV) => return Ok(None),
        found => found.with_context(|| format!("looking at the interface {name}"))?,
    };
    let (link, _) = parse(&found).with_context(|| format!("the kernel says nothing of {name}"))?;
    Ok(Some(link))
}

/// Understands what the kernel says of an interface. Returns the attributes as well.
fn parse(bytes: &[u8]) -> Option<(Link, &[u8])> {
    let (fixed, attributes) = bytes.split_at_checked(interface(0, 0).len())?;
    let info = attribute(attributes, IFLA_LINKINFO).unwrap_or_default();
    let link = Link {
        index: u32::from_ne_bytes(*fixed.get(4..8)?.first_chunk()?),
        kind: text(info, IFLA_INFO_KIND),
        mac: attribute(attributes, IFLA_ADDRESS).unwrap_or_default().to_vec(),
    };
    Some((link, attributes))
}

/// An attribute that is a text.
fn text(attributes: &[u8], number: u16) -> String {
    let text = attribute(attributes, number).unwrap_or_default();
    String::from_utf8_lossy(text).trim_end_matches('\0').to_string()
}

/// `ip link add NAME address MAC type bridge`
pub fn add_bridge(kernel: &Netlink, name: &str, mac: Mac) -> Result<(), Errno> {
    debug!("ip link add {name} address {} type bridge", shown(mac));
    let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &interface(0, 0))
        .with_text(IFLA_IFNAME, name)
        .with(IFLA_ADDRESS, &mac)
        .with_nested(IFLA_LINKINFO, |info| info.with_text(IFLA_INFO_KIND, "bridge"));
    kernel.change(request)
}

/// `ip link add NAME master BRIDGE up type veth peer name PEER address MAC netns NAMESPACE`: both ends at once, one
/// plugged in, the other where it belongs.
pub fn add_cable(
    kernel: &Netlink,
    name: &str,
    bridge: u32,
    (peer, mac, namespace): (&str, Mac, BorrowedFd<'_>),
) -> Result<(), Errno> {
    debug!("ip link add {name} master … up type veth peer name {peer} address {} netns …", shown(mac));
    let peer = |data: Request| {
        data.with_nested(PEER, |end| {
            end.with_bytes(&interface(0, 0))
                .with_text(IFLA_IFNAME, peer)
                .with(IFLA_ADDRESS, &mac)
                .with(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
        })
    };
    let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &interface(0, IFF_UP))
        .with_text(IFLA_IFNAME, name)
        .with(IFLA_MASTER, &bridge.to_ne_bytes())
        .with_nested(IFLA_LINKINFO, |info| {
            info.with_text(IFLA_INFO_KIND, "veth").with_nested(IFLA_INFO_DATA, peer)
        });
    kernel.change(request)
}

/// `ip link set LINK alias TEXT`: a text that the kernel keeps with the interface, for whoever wants to know. No error
/// if it has gone.
pub fn set_alias(kernel: &Netlink, index: u32, text: &str) -> Result<()> {
    debug!("ip link set {index} alias {text:?}");
    let request = Request::new(RTM_NEWLINK, 0, &interface(index, 0)).with(IFLA_IFALIAS, text.as_bytes());
    match kernel.change(request) {
        Err(Errno::ENODEV) => Ok(()),
        set => set.with_context(|| format!("giving the interface number {index} an alias")),
    }
}

/// `ip link show master BRIDGE`: of each cable the number, the name and the alias.
pub fn plugged_in(kernel: &Netlink, bridge: u32) -> Result<Vec<Cable>> {
    let request = Request::new(RTM_GETLINK, NLM_F_DUMP, &interface(0, 0))
        .with(IFLA_EXT_MASK, &WITHOUT_STATISTICS.to_ne_bytes())
        .with(IFLA_MASTER, &bridge.to_ne_bytes());
    let found = kernel.look_up_all(request).context("listing what is plugged into the bridge")?;
    let known = found.iter().filter_map(|bytes| {
        let (link, attributes) = parse(bytes)?;
        Some((link.index, text(attributes, IFLA_IFNAME), text(attributes, IFLA_IFALIAS)))
    });
    Ok(known.collect())
}

/// `ip link show type KIND`
fn of_kind(kernel: &Netlink, kind: &str) -> Result<Vec<Vec<u8>>, Errno> {
    let request = Request::new(RTM_GETLINK, NLM_F_DUMP, &interface(0, 0))
        .with(IFLA_EXT_MASK, &WITHOUT_STATISTICS.to_ne_bytes())
        .with_nested(IFLA_LINKINFO, |info| info.with_text(IFLA_INFO_KIND, kind));
    kernel.look_up_all(request)
}

/// `ip link show type veth`: of each cable the number of the bridge, its own, its name and its alias.
pub fn cables(kernel: &Netlink) -> Result<Vec<(u32, Cable)>> {
    let found = of_kind(kernel, "veth").context("listing cables")?;
    let known = found.iter().filter_map(|bytes| {
        let (link, attributes) = parse(bytes)?;
        let bridge = u32::from_ne_bytes(*attribute(attributes, IFLA_MASTER)?.first_chunk()?);
        Some((bridge, (link.index, text(attributes, IFLA_IFNAME), text(attributes, IFLA_IFALIAS))))
    });
    Ok(known.collect())
}

/// `ip link show type bridge`: each with its name and its alias.
pub fn bridges(kernel: &Netlink) -> Result<Vec<(String, Link, String)>> {
    let found = of_kind(kernel, "bridge").context("listing bridges")?;
    let bridges = found.iter().filter_map(|bytes| {
        let (link, attributes) = parse(bytes)?;
        Some((text(attributes, IFLA_IFNAME), link, text(attributes, IFLA_IFALIAS)))
    });
    Ok(bridges.collect())
}

/// How requests call the kind of an address.
fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    family as u8
}

/// An address as it is in an attribute, and in packets.
pub fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(short) => short.octets().to_vec(),
        IpAddr::V6(long) => long.octets().to_vec(),
    }
}

/// The address of these bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    let short = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    short.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// `ip address show`: of each address the number of its interface, and how many of its bits are the network's.
pub fn addresses(kernel: &Netlink) -> Result<Vec<(u32, IpAddr, u8)>> {
    let fixed = [AF_UNSPEC as u8, 0, 0, 0, 0, 0, 0, 0]; // struct ifaddrmsg
    let request = Request::new(RTM_GETADDR, NLM_F_DUMP, &fixed);
    let found = kernel.look_up_all(request).context("listing addresses")?;
    let addresses = found.iter().filter_map(|bytes| {
        let (begin, attributes) = bytes.split_at_checked(fixed.len())?;
        // Of IPv6 the kernel says it by the other one's number.
        let own = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
        Some((u32::from_ne_bytes(*begin.last_chunk()?), address(own)?, begin[1]))
    });
    Ok(addresses.collect())
}

/// `ip link delete NAME`
pub fn delete(kernel: &Netlink, name: &str) -> Result<()> {
    debug!("ip link delete {name}");
    let request = Request::new(RTM_DELLINK, 0, &interface(0, 0)).with_text(IFLA_IFNAME, name);
    kernel.change(request).with_context(|| format!("taking away the interface {name}"))
}

/// `RTEXT_FILTER_SKIP_STATS`: how many packets went over it is most of what there is to tell.
const WITHOUT_STATISTICS: u32 = 8;

/// `ip link set NAME up`
pub fn set_up(kernel: &Netlink, name: &str) -> Result<()> {
    debug!("ip link set {name} up");
    let request = Request::new(RTM_NEWLINK, 0, &interface(0, IFF_UP)).with_text(IFLA_IFNAME, name);
    kernel.change(request).with_context(|| format!("setting the interface {name} up"))
}

/// `ip address replace ADDRESS/PREFIX dev LINK`, for IPv6 with `nodad`
///
/// By IPv6 a machine asks first whether somebody else has the address, and for a second or two it can't be used. Nobody
/// has: there's one cable of a name.
pub fn set_address(kernel: &Netlink, link: &Link, address: IpAddr, prefix: u8) -> Result<()> {
    let flags = match address {
        IpAddr::V4(_) => {
            debug!("ip address replace {address}/{prefix}");
            0
        }
        IpAddr::V6(_) => {
            debug!("ip address replace {address}/{prefix} nodad");
            IFA_F_NODAD as u8
        }
    };
    // struct ifaddrmsg
    let how = [family(address), prefix, flags, RT_SCOPE_UNIVERSE];
    let fixed = [&how[..], &link.index.to_ne_bytes()].concat();
    let request =
        Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &fixed).with(IFA_LOCAL, &bytes(address));
    kernel.change(request).with_context(|| format!("giving an interface the address {address}/{prefix}"))
}

/// `ip route add default via GATEWAY`
pub fn add_default_route(kernel: &Netlink, gateway: IpAddr) -> Result<()> {
    debug!("ip route add default via {gateway}");
    // struct rtmsg
    let to_anywhere = [family(gateway), 0, 0, 0];
    let how = [RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
    let request =
        Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &[to_anywhere.as_slice(), &how].concat())
            .with(RTA_GATEWAY, &bytes(gateway));
    kernel.change(request).with_context(|| format!("adding the default route, by {gateway}"))
}

/// `ip route show table all`: where each leads, how many of that address's bits count, and by which interface, if by any.
pub fn routes(kernel: &Netlink) -> Result<Vec<(IpAddr, u8, Option<u32>)>> {
    let fixed = [AF_UNSPEC as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // struct rtmsg
    let found =
        kernel.look_up_all(Request::new(RTM_GETROUTE, NLM_F_DUMP, &fixed)).context("listing routes")?;
    let routes = found.iter().filter_map(|bytes| {
        let (begin, attributes) = bytes.split_at_checked(fixed.len())?;
        let anywhere = match i32::from(begin[0]) {
            AF_INET => IpAddr::from([0; 4]),
            AF_INET6 => IpAddr::from([0; 16]),
            _ => return None,
        };
        let to = attribute(attributes, RTA_DST).map_or(Some(anywhere), address)?;
        let by = attribute(attributes, RTA_OIF).and_then(<[u8]>::first_chunk);
        Some((to, begin[1], by.map(|by| u32::from_ne_bytes(*by))))
    });
    Ok(routes.collect())
}
