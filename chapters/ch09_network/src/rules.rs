//! Rules for packets, as nft(8) makes them: nf_tables, of which linux/netfilter/nf_tables.h is all the documentation.
//!
//! A table has chains, and a chain has rules. A rule is a program for a small machine in the kernel: it loads bytes of a
//! packet into a register, compares them, and goes on to its next instruction only if they are what it wants. Unlike
//! elsewhere in netlink, numbers are in the network's order.

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc::{
    AF_INET, AF_UNSPEC, NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END,
    NFNL_SUBSYS_NFTABLES, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_META_OIFNAME, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NFT_PAYLOAD_NETWORK_HEADER, NFT_REG_1, NLM_F_APPEND, NLM_F_CREATE,
    NLM_F_EXCL,
};
use nix::sys::socket::SockProtocol;

use crate::netlink::{Netlink, Request};

// Numbers of attributes, which the libc crate lacks.
const NAME: u16 = 1; // of a table, an instruction; and of the table that a chain or a rule is in
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

/// An instruction: its name, and its numbers and texts by the numbers of their attributes.
#[derive(Debug)]
struct Instruction(&'static str, Vec<(u16, Operand)>);

#[derive(Debug)]
enum Operand {
    Number(i32),
    Bytes(Vec<u8>),
}
use Operand::{Bytes, Number};

/// So many bytes of a packet's IP header, from one on.
fn load(offset: i32, length: usize) -> Instruction {
    let parts = [NFT_REG_1, NFT_PAYLOAD_NETWORK_HEADER, offset, length as i32];
    Instruction("payload", (1..).zip(parts.map(Number)).collect())
}

/// The name of the interface by which the packet leaves.
fn out_interface() -> Instruction {
    Instruction("meta", vec![(1, Number(NFT_REG_1)), (2, Number(NFT_META_OIFNAME))])
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
    debug!("nft add table ip {bridge}, chain out, masquerade");
    // As the kernel has it, to the last byte of an interface's name.
    let mut name = bridge.as_bytes().to_vec();
    name.resize(nix::libc::IFNAMSIZ, 0);
    let program = [
        load(12, network.len()), // where the packet comes from: 12 bytes into its header
        compare(NFT_CMP_EQ, network.to_vec()),
        out_interface(),
        compare(NFT_CMP_NEQ, name),
        Instruction("masq", Vec::new()),
    ];
    let chain = about(NFT_MSG_NEWCHAIN, NLM_F_CREATE, bridge)
        .with_text(CHAIN_NAME, "out")
        .with_text(CHAIN_TYPE, "nat")
        .with_nested(CHAIN_HOOK, |hook| {
            hook.with(HOOK_NUMBER, &NF_INET_POST_ROUTING.to_be_bytes())
                .with(HOOK_PRIORITY, &NF_IP_PRI_NAT_SRC.to_be_bytes())
        });
    let rule = about(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, bridge)
        .with_text(RULE_CHAIN, "out")
        .with_nested(RULE_PROGRAM, |list| program.iter().fold(list, |list, one| one.add_to(list)));
    let table = about(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, bridge);
    let (begin, end) = (mark(NFNL_MSG_BATCH_BEGIN), mark(NFNL_MSG_BATCH_END));
    match kernel.change_all(begin, vec![table, chain, rule], end) {
        Err(Errno::EEXIST) => Ok(false), // somebody else has done it meanwhile
        made => made.map(|()| true).with_context(|| format!("making the table {bridge} of nftables")),
    }
}
