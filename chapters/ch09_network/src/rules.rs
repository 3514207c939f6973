//! Rules for packets, as nft(8) makes them: nf_tables, of which linux/netfilter/nf_tables.h is all the documentation.
//!
//! A table has chains, and a chain has rules. A rule is a program for a small machine in the kernel: it loads bytes of a
//! packet into a register, compares them, and goes on to its next instruction only if they are what it wants. Unlike
//! elsewhere in netlink, numbers are in the network's order.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use log::{debug, warn};
use nix::errno::Errno;
use nix::libc::{
    AF_INET, AF_UNSPEC, IFNAMSIZ, IPPROTO_TCP, NF_DROP, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING,
    NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC, NF_IP_PRI_RAW, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END,
    NFNL_SUBSYS_NFTABLES, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_OIFNAME,
    NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NFT_NAT_DNAT,
    NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REG_1, NFT_REG_2, NFT_REG_VERDICT,
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, RTN_LOCAL,
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
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

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

/// What an instruction works with.
#[derive(Debug)]
enum Operand {
    Number(i32),
    Bytes(Vec<u8>),
    Verdict(i32),
}
use Operand::{Bytes, Number, Verdict};

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

/// The packet goes no further.
fn drop_it() -> Instruction {
    Instruction("immediate", vec![(1, Number(NFT_REG_VERDICT)), (2, Verdict(NF_DROP))])
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
            Verdict(code) => data.with_nested(*number, |data| {
                data.with_nested(VERDICT, |verdict| verdict.with(VERDICT_CODE, &code.to_be_bytes()))
            }),
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

/// A chain: where it is asked, and its rules.
struct Chain {
    name: &'static str,
    kind: &'static str,
    hook: i32,
    priority: i32,
    rules: Vec<Vec<Instruction>>,
}

impl Chain {
    fn requests(&self, table: &str) -> Vec<Request> {
        let begins = about(NFT_MSG_NEWCHAIN, NLM_F_CREATE, table)
            .with_text(CHAIN_NAME, self.name)
            .with_text(CHAIN_TYPE, self.kind)
            .with_nested(CHAIN_HOOK, |at| {
                at.with(HOOK_NUMBER, &self.hook.to_be_bytes())
                    .with(HOOK_PRIORITY, &self.priority.to_be_bytes())
            });
        let rules = self.rules.iter().map(|program| {
            about(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table)
                .with_text(RULE_CHAIN, self.name)
                .with_nested(RULE_PROGRAM, |list| program.iter().fold(list, |list, one| one.add_to(list)))
        });
        [begins].into_iter().chain(rules).collect()
    }
}

/// Makes a table with these chains: all of it, or nothing.
fn make(kernel: &Netlink, name: &str, flags: u32, chains: &[Chain]) -> Result<(), Errno> {
    let names: Vec<_> = chains.iter().map(|chain| chain.name).collect();
    debug!("nft add table ip {name}, with the chains {}", names.join(", "));
    let table =
        about(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, name).with(TABLE_FLAGS, &flags.to_be_bytes());
    let requests = [table].into_iter().chain(chains.iter().flat_map(|chain| chain.requests(name)));
    kernel.change_all(mark(NFNL_MSG_BATCH_BEGIN), requests.collect(), mark(NFNL_MSG_BATCH_END))
}

/// An interface's name as the kernel has it, to its last byte.
fn padded(interface: &str) -> Vec<u8> {
    let mut name = interface.as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    name
}

/// The rules of the whole network, whose addresses begin with `network`:
///
/// ```text
/// table ip BRIDGE {
///     chain out {
///         type nat hook postrouting priority srcnat
///         ip saddr 172.30.0.0/24 oifname != BRIDGE masquerade
///     }
///     chain shut {
///         type filter hook prerouting priority raw
///         iifname != BRIDGE iifname != lo ip daddr 172.30.0.0/24 drop
///     }
/// }
/// ```
///
/// What leaves it gets the host's address. And whoever is outside and knows where the network is doesn't get in: who has leave
/// to, by a published port, sends to the host. They stay when the container has ended, like the bridge whose name the table
/// has. Returns whether it wasn't there.
pub fn of_network(bridge: &str, network: &[u8]) -> Result<bool> {
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    match kernel.look_up(about(NFT_MSG_GETTABLE, 0, bridge)) {
        Err(Errno::ENOENT) => {}
        found => return found.map(|_| false).with_context(|| format!("looking for the table {bridge}")),
    }
    let is_network = |at| {
        let its = compare(NFT_CMP_EQ, network.to_vec());
        [load(NFT_PAYLOAD_NETWORK_HEADER, at, network.len()), its]
    };
    let is_not = |which, interface| [meta(which), compare(NFT_CMP_NEQ, padded(interface))];
    let masquerade = [is_network(SOURCE), is_not(NFT_META_OIFNAME, bridge)].into_iter().flatten();
    let masquerade = masquerade.chain([Instruction("masq", Vec::new())]);
    let comes_in = [is_not(NFT_META_IIFNAME, bridge), is_not(NFT_META_IIFNAME, "lo")].into_iter().flatten();
    let shut = comes_in.chain(is_network(DESTINATION)).chain([drop_it()]);
    let chains = [
        Chain {
            name: "out",
            kind: "nat",
            hook: NF_INET_POST_ROUTING,
            priority: NF_IP_PRI_NAT_SRC,
            rules: vec![masquerade.collect()],
        },
        Chain {
            name: "shut",
            kind: "filter",
            hook: NF_INET_PRE_ROUTING,
            priority: NF_IP_PRI_RAW, // before any address is changed
            rules: vec![shut.collect()],
        },
    ];
    match make(&kernel, bridge, 0, &chains) {
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
    let into = Chain {
        name: "in",
        kind: "nat",
        hook: NF_INET_PRE_ROUTING,
        priority: NF_IP_PRI_NAT_DST,
        rules: ports.iter().map(|port| redirection(bridge, container, port)).collect(),
    };
    match make(&kernel, name, OWNER, &[into]) {
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            warn!(
                "no table with an owner before Linux 5.12: a client from outside is seen with the host's address"
            );
            Ok(None)
        }
        made => {
            made.map(|()| Some(kernel.into())).with_context(|| format!("making the table {name} of nftables"))
        }
    }
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
