//! Rules for packets, as nft(8) makes them: nf_tables, of which linux/netfilter/nf_tables.h is all the documentation.
//!
//! A table has chains, and a chain has rules. A rule is a program for a small machine in the kernel: it loads bytes of a
//! packet into a register, compares them, and goes on to its next instruction only if they are what it wants. Unlike
//! elsewhere in netlink, numbers are in the network's order.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc::{
    AF_INET, AF_UNSPEC, IFNAMSIZ, IPPROTO_TCP, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST,
    NF_IP_PRI_NAT_SRC, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFT_CMP_EQ,
    NFT_CMP_NEQ, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_OIFNAME, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NFT_NAT_DNAT, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REG_1, NFT_REG_2, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, RTN_LOCAL,
};
use nix::sys::socket::SockProtocol;

use crate::netlink::{Netlink, Request};

// Numbers of attributes, which the libc crate lacks.
const NAME: u16 = 1; // of a table, an instruction; and of the table that a chain or a rule is in
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_PROGRAM: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const INSTRUCTION_DATA: u16 = 2;
const VALUE: u16 = 1;

/// `NFT_TABLE_F_OWNER`: the table is the socket's that makes it.
const OWNER: u32 = 2;

// Where things are in an IP header, and in a TCP header.
const SOURCE: i32 = 12;
const DESTINATION: i32 = 16;
const DESTINATION_PORT: i32 = 2;

// What `fib` is to look up, and for which address.
const ADDRESS_TYPE: i32 = 3;
const OF_DESTINATION: i32 = 2;

/// An instruction: its name, and its numbers and texts by the numbers of their attributes.
#[derive(Debug)]
struct Instruction(&'static str, Vec<(u16, Operand)>);

#[derive(Debug)]
enum Operand {
    Number(i32),
    Bytes(Vec<u8>),
}
use Operand::{Bytes, Number};

/// Loads so many bytes of one of a packet's headers, from one on.
fn load(header: i32, offset: i32, length: usize) -> Instruction {
    let parts = [NFT_REG_1, header, offset, length as i32];
    Instruction("payload", (1..).zip(parts.map(Number)).collect())
}

/// Loads what isn't in the packet: by which interface it comes or goes, for example.
fn meta(which: i32) -> Instruction {
    Instruction("meta", vec![(1, Number(NFT_REG_1)), (2, Number(which))])
}

/// Loads what kind of address it is for: one of the host's own, or not.
fn is_ours() -> Instruction {
    Instruction("fib", vec![(1, Number(NFT_REG_1)), (2, Number(ADDRESS_TYPE)), (3, Number(OF_DESTINATION))])
}

/// Puts a value into a register.
fn put(register: i32, value: Vec<u8>) -> Instruction {
    Instruction("immediate", vec![(1, Number(register)), (2, Bytes(value))])
}

/// Gives the packet the address in the first register, and the port in the second.
fn redirect_to_registers() -> Instruction {
    let parts = [(1, NFT_NAT_DNAT), (2, AF_INET), (3, NFT_REG_1), (5, NFT_REG_2)];
    Instruction("nat", parts.map(|(number, value)| (number, Number(value))).into())
}

/// The program goes on if what was loaded is so, or is not.
fn compare(how: i32, value: Vec<u8>) -> Instruction {
    Instruction("cmp", vec![(1, Number(NFT_REG_1)), (2, Number(how)), (3, Bytes(value))])
}

impl Instruction {
    fn add_to(&self, list: Request) -> Request {
        let Instruction(name, operands) = self;
        let add = |data: Request, (number, operand): &(u16, Operand)| match operand {
            Number(value) => data.with(*number, &value.to_be_bytes()),
            Bytes(value) => data.with_nested(*number, |data| data.with(VALUE, value)),
        };
        list.with_nested(LIST_ELEMENT, |element| {
            element
                .with_text(NAME, name)
                .with_nested(INSTRUCTION_DATA, |data| operands.iter().fold(data, add))
        })
    }
}

/// A request about this table of rules for IPv4.
fn about(kind: i32, flags: i32, table: &str) -> Request {
    let kind = (NFNL_SUBSYS_NFTABLES << 8) | kind;
    Request::new(kind as u16, flags, &[AF_INET as u8, 0, 0, 0]).with_text(NAME, table)
}

/// Begins or ends what is to be done as a whole.
fn mark(kind: i32) -> Request {
    let [high, low] = (NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    Request::mark(kind as u16, &[AF_UNSPEC as u8, 0, high, low])
}

/// A table with one chain, in which these programs are rules: all of it, or nothing.
fn make(
    kernel: &Netlink,
    name: &str,
    flags: u32,
    (chain, hook, priority): (&str, i32, i32),
    rules: &[Vec<Instruction>],
) -> Result<(), Errno> {
    debug!("nft add table ip {name}, chain {chain}");
    let table =
        about(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, name).with(TABLE_FLAGS, &flags.to_be_bytes());
    let begins = about(NFT_MSG_NEWCHAIN, NLM_F_CREATE, name)
        .with_text(CHAIN_NAME, chain)
        .with_text(CHAIN_TYPE, "nat")
        .with_nested(CHAIN_HOOK, |at| {
            at.with(HOOK_NUMBER, &hook.to_be_bytes()).with(HOOK_PRIORITY, &priority.to_be_bytes())
        });
    let rules = rules.iter().map(|program| {
        about(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, name)
            .with_text(RULE_CHAIN, chain)
            .with_nested(RULE_PROGRAM, |list| program.iter().fold(list, |list, one| one.add_to(list)))
    });
    let requests = [table, begins].into_iter().chain(rules).collect();
    kernel.change_all(mark(NFNL_MSG_BATCH_BEGIN), requests, mark(NFNL_MSG_BATCH_END))
}

/// An interface's name as the kernel has it, to its last byte.
fn padded(interface: &str) -> Vec<u8> {
    let mut name = interface.as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    name
}

/// What leaves `network`, the beginning of an address, by any other interface than its `bridge`, gets the host's address:
///
/// ```text
/// table ip BRIDGE {
///     chain out {
///         type nat hook postrouting priority srcnat
///         ip saddr 172.30.0.0/24 oifname != BRIDGE masquerade
///     }
/// }
/// ```
///
/// It stays when the container has ended, like the bridge whose name it has. Returns whether it wasn't there.
pub fn masquerade(bridge: &str, network: &[u8]) -> Result<bool> {
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    match kernel.look_up(about(NFT_MSG_GETTABLE, 0, bridge)) {
        Err(Errno::ENOENT) => {}
        found => return found.map(|_| false).with_context(|| format!("looking for the table {bridge}")),
    }
    let program = vec![
        load(NFT_PAYLOAD_NETWORK_HEADER, SOURCE, network.len()),
        compare(NFT_CMP_EQ, network.to_vec()),
        meta(NFT_META_OIFNAME),
        compare(NFT_CMP_NEQ, padded(bridge)),
        Instruction("masq", Vec::new()),
    ];
    let out = ("out", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC);
    match make(&kernel, bridge, 0, out, &[program]) {
        Err(Errno::EEXIST) => Ok(false), // somebody else has done it meanwhile
        made => made.map(|()| true).with_context(|| format!("making the table {bridge} of nftables")),
    }
}

/// A port of the host, by which the container's is meant.
#[derive(Debug)]
pub struct Redirection {
    /// The host's address. `None`: any.
    pub to: Option<Ipv4Addr>,
    /// The host's port.
    pub host: u16,
    /// The container's.
    pub inside: u16,
}

/// What comes in for one of these ports of the host, by any other interface than the `bridge`, gets a container's address:
///
/// ```text
/// table ip NAME {
///     flags owner
///     chain in {
///         type nat hook prerouting priority dstnat
///         iifname != BRIDGE fib daddr type local tcp dport 8080 dnat to 172.30.0.9:80
///     }
/// }
/// ```
///
/// The table is the socket's that this returns: nobody else can change it, and it goes when that is closed. `None` if there's
/// nothing to redirect.
pub fn redirect(
    name: &str,
    bridge: &str,
    container: Ipv4Addr,
    ports: &[Redirection],
) -> Result<Option<OwnedFd>> {
    if ports.is_empty() {
        return Ok(None);
    }
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let programs: Vec<_> = ports.iter().map(|port| redirection(bridge, container, port)).collect();
    let at = ("in", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST);
    make(&kernel, name, OWNER, at, &programs)
        .with_context(|| format!("making the table {name} of nftables"))?;
    Ok(Some(kernel.into()))
}

fn redirection(bridge: &str, container: Ipv4Addr, port: &Redirection) -> Vec<Instruction> {
    let mut program = vec![meta(NFT_META_IIFNAME), compare(NFT_CMP_NEQ, padded(bridge))];
    program.extend(match port.to {
        Some(ip) => {
            [load(NFT_PAYLOAD_NETWORK_HEADER, DESTINATION, 4), compare(NFT_CMP_EQ, ip.octets().to_vec())]
        }
        None => [
            is_ours(),
            compare(NFT_CMP_EQ, u32::from(RTN_LOCAL).to_ne_bytes().to_vec()), // a number of the kernel's own
        ],
    });
    program.extend([
        meta(NFT_META_L4PROTO),
        compare(NFT_CMP_EQ, vec![IPPROTO_TCP as u8]),
        load(NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, 2),
        compare(NFT_CMP_EQ, port.host.to_be_bytes().to_vec()),
        put(NFT_REG_1, container.octets().to_vec()),
        put(NFT_REG_2, port.inside.to_be_bytes().to_vec()),
        redirect_to_registers(),
    ]);
    program
}
