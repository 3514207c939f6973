//! Instructions, of which a rule consists: nf_tables, of which linux/netfilter/nf_tables.h is all the documentation.
//!
//! A rule is a program for a small machine in the kernel: it loads bytes of a packet into a register, compares them,
//! and goes on to its next instruction only if they are what it wants. Unlike elsewhere in netlink, numbers are in the
//! network's order.

use std::net::IpAddr;

use nix::libc::{
    AF_INET, AF_INET6, IFNAMSIZ, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, NF_DROP, NFT_CMP_EQ, NFT_CMP_NEQ,
    NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_OIFNAME, NFT_NAT_DNAT, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REG_1, NFT_REG_2, NFT_REG_VERDICT, RTN_LOCAL,
};

use crate::links;
use crate::netlink::Request;
use crate::ports::Protocol;

// Numbers of attributes, which the libc crate lacks.
const LIST_ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// Where the port is in a header of TCP or UDP.
const DESTINATION_PORT: i32 = 2;

// What `fib` is to look up, and for which address.
const ADDRESS_TYPE: i32 = 3;
const OF_DESTINATION: i32 = 2;

/// Which packets there are. A table is asked about those of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Those of IPv4.
    Ip,
    /// Those of IPv6.
    Ip6,
}

impl Family {
    /// The one of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::Ip } else { Family::Ip6 }
    }

    /// How nft(8) calls it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        }
    }

    /// How requests call it.
    pub fn number(self) -> i32 {
        match self {
            Family::Ip => AF_INET,
            Family::Ip6 => AF_INET6,
        }
    }

    /// Where a packet's header has the address that it comes from.
    fn source(self) -> i32 {
        match self {
            Family::Ip => 12,
            Family::Ip6 => 8,
        }
    }

    /// Where it has the one that it's for.
    fn destination(self) -> i32 {
        match self {
            Family::Ip => 16,
            Family::Ip6 => 24,
        }
    }
}

/// An instruction: its name, and what it works with by the numbers of the attributes.
#[derive(Debug)]
pub struct Instruction(&'static str, Vec<(u16, Operand)>);

#[derive(Debug)]
enum Operand {
    Number(i32),
    Bytes(Vec<u8>),
    Verdict(i32),
}
use Operand::{Bytes, Number, Verdict};

/// Bytes of one of a packet's headers, from one on, have to be these.
fn header(which: i32, offset: i32, wanted: &[u8]) -> [Instruction; 2] {
    let parts = [NFT_REG_1, which, offset, wanted.len() as i32];
    [Instruction("payload", (1..).zip(parts.map(Number)).collect()), compare(NFT_CMP_EQ, wanted)]
}

/// `ip saddr`: the packet comes from an address that begins so.
pub fn comes_from(family: Family, address: &[u8]) -> [Instruction; 2] {
    header(NFT_PAYLOAD_NETWORK_HEADER, family.source(), address)
}

/// `ip saddr !=`: it comes from an address that begins otherwise.
pub fn comes_not_from(family: Family, address: &[u8]) -> [Instruction; 2] {
    let [load, _] = comes_from(family, address);
    [load, compare(NFT_CMP_NEQ, address)]
}

/// `ip daddr`: it is for an address that begins so.
pub fn is_for(family: Family, address: &[u8]) -> [Instruction; 2] {
    header(NFT_PAYLOAD_NETWORK_HEADER, family.destination(), address)
}

/// `tcp dport` or `udp dport`: it is for this port.
pub fn is_for_port(protocol: Protocol, port: u16) -> [Instruction; 4] {
    let protocol = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    };
    let [load, is_it] = header(NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, &port.to_be_bytes());
    [meta(NFT_META_L4PROTO), compare(NFT_CMP_EQ, &[protocol as u8]), load, is_it]
}

/// `meta l4proto != ipv6-icmp`: it's not one of those by which machines on a cable find each other.
pub fn is_no_icmpv6() -> [Instruction; 2] {
    [meta(NFT_META_L4PROTO), compare(NFT_CMP_NEQ, &[IPPROTO_ICMPV6 as u8])]
}

/// `fib daddr type local`: it is for one of the host's own addresses.
pub fn is_for_host() -> [Instruction; 2] {
    let look_up = vec![(1, Number(NFT_REG_1)), (2, Number(ADDRESS_TYPE)), (3, Number(OF_DESTINATION))];
    let local = u32::from(RTN_LOCAL).to_ne_bytes(); // a number of the kernel's own, in its own order
    [Instruction("fib", look_up), compare(NFT_CMP_EQ, &local)]
}

/// `ip daddr !=`: it is for an address that begins otherwise.
pub fn is_not_for(family: Family, address: &[u8]) -> [Instruction; 2] {
    let [load, _] = is_for(family, address);
    [load, compare(NFT_CMP_NEQ, address)]
}

/// `iifname`: it comes in by this interface.
pub fn in_by(interface: &str) -> [Instruction; 2] {
    [meta(NFT_META_IIFNAME), compare(NFT_CMP_EQ, &padded(interface))]
}

/// `iifname !=`: it comes in by another interface.
pub fn not_in_by(interface: &str) -> [Instruction; 2] {
    [meta(NFT_META_IIFNAME), compare(NFT_CMP_NEQ, &padded(interface))]
}

/// `oifname !=`: it leaves by another interface.
pub fn not_out_by(interface: &str) -> [Instruction; 2] {
    [meta(NFT_META_OIFNAME), compare(NFT_CMP_NEQ, &padded(interface))]
}

/// Loads what isn't in the packet.
fn meta(which: i32) -> Instruction {
    Instruction("meta", vec![(1, Number(NFT_REG_1)), (2, Number(which))])
}

/// The program goes on if what was loaded is so, or is not.
fn compare(how: i32, value: &[u8]) -> Instruction {
    Instruction("cmp", vec![(1, Number(NFT_REG_1)), (2, Number(how)), (3, Bytes(value.to_vec()))])
}

/// An interface's name as the kernel has it, to its last byte.
fn padded(interface: &str) -> Vec<u8> {
    let mut name = interface.as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    name
}

/// `masquerade`: it gets the host's address.
pub fn masquerade() -> [Instruction; 1] {
    [Instruction("masq", Vec::new())]
}

/// `drop`: it goes no further.
pub fn drop_it() -> [Instruction; 1] {
    [Instruction("immediate", vec![(1, Number(NFT_REG_VERDICT)), (2, Verdict(NF_DROP))])]
}

/// `dnat to`: it goes to this address and port instead, which are put into two registers.
pub fn redirect(address: IpAddr, port: u16) -> [Instruction; 3] {
    let put = |register, value: &[u8]| {
        Instruction("immediate", vec![(1, Number(register)), (2, Bytes(value.to_vec()))])
    };
    let parts = [(1, NFT_NAT_DNAT), (2, Family::of(address).number()), (3, NFT_REG_1), (5, NFT_REG_2)];
    let nat = Instruction("nat", parts.map(|(number, value)| (number, Number(value))).into());
    [put(NFT_REG_1, &links::bytes(address)), put(NFT_REG_2, &port.to_be_bytes()), nat]
}

impl Instruction {
    /// Adds it to the list that a rule's program is.
    pub fn add_to(&self, list: Request) -> Request {
        let Instruction(name, operands) = self;
        let add = |data: Request, (number, operand): &(u16, Operand)| match operand {
            Number(value) => data.with(*number, &value.to_be_bytes()),
            Bytes(value) => data.with_nested(*number, |data| data.with(VALUE, value)),
            Verdict(code) => data.with_nested(*number, |data| {
                data.with_nested(VERDICT, |verdict| verdict.with(VERDICT_CODE, &code.to_be_bytes()))
            }),
        };
        list.with_nested(LIST_ELEMENT, |element| {
            element.with_text(NAME, name).with_nested(DATA, |data| operands.iter().fold(data, add))
        })
    }
}
