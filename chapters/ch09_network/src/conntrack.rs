//! What the kernel remembers of datagrams: nfnetlink, of which linux/netfilter/nfnetlink_conntrack.h is all the
//! documentation; conntrack(8).
//!
//! A rule that changes an address is asked only once for each flow. From then on the kernel remembers what it was, as
//! long as something comes. A client that never stops sending is still led to where a container was, when another one
//! has its port.

use std::net::{IpAddr, UdpSocket};

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc::{AF_UNSPEC, IPPROTO_UDP, NFNL_SUBSYS_CTNETLINK, NLA_F_NESTED, NLM_F_DUMP};
use nix::sys::socket::SockProtocol;

use crate::instructions::Family;
use crate::links;
use crate::netlink::{Netlink, Request, attribute};

// Numbers that the libc crate lacks.
const GET: i32 = 1;
const DELETE: i32 = 2;
const AS_IT_CAME: u16 = 1;
const ADDRESSES: u16 = 1;
const TO_ADDRESS: u16 = 2;
const TO_IPV6_ADDRESS: u16 = 4;
const PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const TO_PORT: u16 = 3;

/// A request about all that is remembered, or of one family.
fn about(what: i32, flags: i32, family: i32) -> Request {
    let kind = (NFNL_SUBSYS_CTNETLINK << 8) | what;
    Request::new(kind as u16, flags, &[family as u8, 0, 0, 0])
}

/// `conntrack -D -p udp --orig-port-dst PORT`, for each of these ports of the host, at this address of its or at any.
pub fn forget(ports: &[(Option<IpAddr>, u16)]) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    debug!("conntrack -D -p udp, for the ports {ports:?}");
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let all = kernel
        .look_up_all(about(GET, NLM_F_DUMP, AF_UNSPEC))
        .context("listing what the kernel remembers of datagrams")?;
    for flow in &all {
        let Some(came) = flow.get(4..).and_then(|attributes| attribute(attributes, AS_IT_CAME)) else {
            continue;
        };
        let Some((address, port)) = meant(came) else { continue };
        let is_host = || UdpSocket::bind((address, 0)).is_ok(); // nobody else can
        let is_it = |(own, number): &(Option<IpAddr>, u16)| {
            *number == port && own.map_or_else(is_host, |own| own == address)
        };
        if !ports.iter().any(is_it) {
            continue; // it's another machine's port of that number
        }
        match kernel.change(
            about(DELETE, 0, Family::of(address).number()).with(AS_IT_CAME | NLA_F_NESTED as u16, came),
        ) {
            Ok(()) | Err(Errno::ENOENT) => {} // it's just been forgotten
            Err(errno) => return Err(errno).context("having the kernel forget a flow of datagrams"),
        }
    }
    Ok(())
}

/// Which address and port the first datagram was for, if it was one of UDP.
fn meant(came: &[u8]) -> Option<(IpAddr, u16)> {
    let protocol = attribute(came, PROTOCOL)?;
    let is_udp = attribute(protocol, PROTOCOL_NUMBER)? == [IPPROTO_UDP as u8];
    let port = attribute(protocol, TO_PORT).filter(|_| is_udp)?;
    let addresses = attribute(came, ADDRESSES)?;
    let address = attribute(addresses, TO_ADDRESS).or_else(|| attribute(addresses, TO_IPV6_ADDRESS))?;
    Some((links::address(address)?, u16::from_be_bytes(*port.first_chunk()?)))
}
