//! Rules for packets, as nft(8) makes them: a table has chains, and a chain has rules.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use log::{debug, warn};
use nix::errno::Errno;
use nix::libc::{
    AF_UNSPEC, NF_INET_FORWARD, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING, NF_IP_PRI_FILTER,
    NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC, NF_IP_PRI_RAW, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END,
    NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL,
};
use nix::sys::socket::SockProtocol;

use crate::bridge::Bridge;
use crate::cable::Place;
use crate::instructions::{
    self, Family, Instruction, comes_from, comes_not_from, drop_it, in_by, is_for, is_for_host, is_for_port,
    is_no_icmpv6, is_not_for, masquerade, not_in_by, not_out_by,
};
use crate::links;
use crate::netlink::{Netlink, Request};
use crate::ports::Protocol;

// Numbers of attributes, which the libc crate lacks.
const NAME: u16 = 1; // of a table, and of the table that a chain or a rule is in
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_PROGRAM: u16 = 4;

/// `NFT_TABLE_F_OWNER`: the table is the socket's that makes it.
const OWNER: u32 = 2;

/// A table: for which packets, and its name.
type Table<'a> = (Family, &'a str);

/// A request about this table.
fn about(kind: i32, flags: i32, (family, name): Table<'_>) -> Request {
    let kind = (NFNL_SUBSYS_NFTABLES << 8) | kind;
    Request::new(kind as u16, flags, &[family.number() as u8, 0, 0, 0]).with_text(NAME, name)
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
    fn requests(&self, table: Table<'_>) -> Vec<Request> {
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
fn make(kernel: &Netlink, table: Table<'_>, flags: u32, chains: &[Chain]) -> Result<(), Errno> {
    let names: Vec<_> = chains.iter().map(|chain| chain.name).collect();
    let (family, name) = (table.0.name(), table.1);
    debug!("nft add table {family} {name}, with the chains {}", names.join(", "));
    let begins =
        about(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, table).with(TABLE_FLAGS, &flags.to_be_bytes());
    let requests = [begins].into_iter().chain(chains.iter().flat_map(|chain| chain.requests(table)));
    kernel.change_all(mark(NFNL_MSG_BATCH_BEGIN), requests.collect(), mark(NFNL_MSG_BATCH_END))
}

/// The packets that a network has, and what the addresses in there begin with.
pub fn networks(bridge: &Bridge) -> Vec<(Family, Vec<u8>)> {
    let ipv6 = bridge.ipv6.map(|prefix| (Family::Ip6, prefix.bytes().to_vec()));
    [Some((Family::Ip, bridge.subnet.bytes())), ipv6].into_iter().flatten().collect()
}

/// Where every machine talks to those on its cable, and all of them: by that, IPv6 finds hardware addresses.
const ON_THE_CABLE: [[u8; 2]; 2] = [[0xfe, 0x80], [0xff, 0x02]];

/// The rules of a whole network, for one kind of its packets:
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
///         iifname != BRIDGE iifname != lo ip saddr 172.30.0.0/24 drop
///     }
/// }
/// ```
///
/// What leaves it gets the host's address. And whoever is outside and knows where the network is doesn't get in: who
/// has leave to, by a published port, sends to the host. The next network is outside, too. They stay when the container
/// has ended, like the bridge whose name the table has.
///
/// Nor does who says that he's in there: the host would give his packet its own address, and take what he sends there
/// for the answer that a container waits for.
///
/// Of an internal network nothing leaves. So instead of the chain `out` there's one more rule in `shut`, and for what
/// would leave because a published port of somebody else's gives it another destination, one more chain:
///
/// ```text
///         iifname BRIDGE ip daddr != 172.30.0.0/24 drop
///     }
///     chain stop {
///         type filter hook forward priority filter
///         iifname BRIDGE oifname != BRIDGE drop
/// ```
///
/// By IPv6 it's the same with `ip6` for `ip`, and what is for a machine on the cable is let through.
///
/// Returns whether it wasn't there.
pub fn of_network(bridge: &Bridge, (family, network): (Family, &[u8])) -> Result<bool> {
    let (name, ip) = (bridge.name.as_str(), family);
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    match kernel.look_up(about(NFT_MSG_GETTABLE, 0, (ip, name))) {
        Err(Errno::ENOENT) => {}
        found => return found.map(|_| false).with_context(|| format!("looking for the table {name}")),
    }
    let masquerade = comes_from(ip, network).into_iter().chain(not_out_by(name)).chain(masquerade());
    let elsewhere = || not_in_by(name).into_iter().chain(not_in_by("lo"));
    let comes_in = elsewhere().chain(is_for(ip, network)).chain(drop_it());
    let lies = elsewhere().chain(comes_from(ip, network)).chain(drop_it());
    let near = ON_THE_CABLE.iter().filter(|_| ip == Family::Ip6).flat_map(|begins| is_not_for(ip, begins));
    let leaves = in_by(name).into_iter().chain(is_not_for(ip, network)).chain(near).chain(drop_it());
    let out = Chain {
        name: "out",
        kind: "nat",
        hook: NF_INET_POST_ROUTING,
        priority: NF_IP_PRI_NAT_SRC,
        rules: vec![masquerade.collect()],
    };
    let mut shut = Chain {
        name: "shut",
        kind: "filter",
        hook: NF_INET_PRE_ROUTING,
        priority: NF_IP_PRI_RAW, // before any address is changed
        rules: vec![comes_in.collect(), lies.collect()],
    };
    let chains = if bridge.is_internal {
        shut.rules.push(leaves.collect());
        // Nothing redirects what comes from such an address, so a published port of somebody else's would be reached.
        if ip == Family::Ip6 {
            let by_near = in_by(name).into_iter().chain(comes_from(ip, &ON_THE_CABLE[0]));
            shut.rules.push(by_near.chain(is_for_host()).chain(is_no_icmpv6()).chain(drop_it()).collect());
        }
        let rule = in_by(name).into_iter().chain(not_out_by(name)).chain(drop_it());
        let (kind, hook, priority) = ("filter", NF_INET_FORWARD, NF_IP_PRI_FILTER);
        vec![shut, Chain { name: "stop", kind, hook, priority, rules: vec![rule.collect()] }]
    } else {
        vec![out, shut]
    };
    match make(&kernel, (ip, name), 0, &chains) {
        Err(Errno::EEXIST) => Ok(false), // somebody else has done it meanwhile
        made => made.map(|()| true).with_context(|| format!("making the table {name} of nftables")),
    }
}

/// Takes a network's tables away, if they're there.
pub fn remove(name: &str) -> Result<()> {
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    for family in [Family::Ip, Family::Ip6] {
        debug!("nft delete table {} {name}", family.name());
        let request = vec![about(NFT_MSG_DELTABLE, 0, (family, name))];
        match kernel.change_all(mark(NFNL_MSG_BATCH_BEGIN), request, mark(NFNL_MSG_BATCH_END)) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // A kernel without IPv6 has no such tables either.
            Err(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) if family == Family::Ip6 => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("removing the table {name} of nftables"));
            }
        }
    }
    Ok(())
}

/// A port of the host, by which the container's is meant.
#[derive(Debug)]
pub struct Redirection {
    /// The host's address. `None`: any.
    pub to: Option<IpAddr>,
    /// The host's port.
    pub host: u16,
    /// The container's address.
    pub container: IpAddr,
    /// The container's port.
    pub inside: u16,
    /// Both ports'.
    pub protocol: Protocol,
}

/// What comes in for one of these ports of the host, by any other interface than the `bridge`, gets a container's
/// address:
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
/// There's one more for IPv6 where the container has such an address. The tables are the socket's that this returns:
/// nobody else can change them, and they go when that is closed. `None` if there's nothing to redirect.
pub fn redirect(id: &str, place: &Place, ports: &[Redirection]) -> Result<Option<OwnedFd>> {
    if ports.is_empty() {
        return Ok(None);
    }
    let (bridge, name) = (place.bridge.name.as_str(), format!("{}-{id}", place.bridge.name));
    let kernel = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    for family in [Family::Ip, Family::Ip6] {
        let ports = ports.iter().filter(|port| Family::of(port.container) == family);
        let into = Chain {
            name: "in",
            kind: "nat",
            hook: NF_INET_PRE_ROUTING,
            priority: NF_IP_PRI_NAT_DST,
            rules: ports.map(|port| redirection(bridge, port)).collect(),
        };
        if into.rules.is_empty() {
            continue;
        }
        match make(&kernel, (family, &name), OWNER, &[into]) {
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {
                warn!(
                    "no table with an owner before Linux 5.12: a client from outside is seen with the host's address"
                );
                return Ok(None);
            }
            made => made.with_context(|| format!("making the table {name} of nftables"))?,
        }
    }
    Ok(Some(kernel.into()))
}

fn redirection(bridge: &str, port: &Redirection) -> Vec<Instruction> {
    let family = Family::of(port.container);
    let is_meant = port.to.map_or_else(is_for_host, |ip| is_for(family, &links::bytes(ip)));
    // Who says only what he's called on the cable can't be led on: the kernel hands on no such packet (ip6_forward). The
    // process is there for him.
    let near = (family == Family::Ip6).then(|| comes_not_from(family, &ON_THE_CABLE[0]));
    let comes_in = not_in_by(bridge)
        .into_iter()
        .chain(near.into_iter().flatten())
        .chain(is_meant)
        .chain(is_for_port(port.protocol, port.host));
    comes_in.chain(instructions::redirect(port.container, port.inside)).collect()
}
