//! `network`: networks are made, listed and taken away.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ch07_lifecycle::common::Common;
use ch07_lifecycle::{output, several, table};
use clap::Subcommand;
use nix::sys::socket::SockProtocol::NetlinkRoute;
use serde_json::{Value, json};

use crate::addresses::Subnet;
use crate::bridge::{self, Bridge, Wanted};
use crate::commands::connect::{self, Connect, Disconnect};
use crate::ipv6::{PREFIX, Prefix};
use crate::links;
use crate::neighbours::{self, Neighbour};
use crate::netlink::Netlink;
use crate::{network, rules};

/// What `network` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a network
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// Only the names
        #[arg(short, long)]
        quiet: bool,
    },
    /// Tell all that is known of networks, as JSON
    Inspect {
        /// Their names
        #[arg(required = true)]
        networks: Vec<OsString>,
    },
    /// Take networks away that no container is on
    Rm {
        /// Their names
        #[arg(required = true)]
        networks: Vec<OsString>,
    },
    /// Connect a container to one more network
    Connect(Connect),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
    /// Take all networks away that no container is on, but for the one that is always there
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Its addresses, 256 or 65536 of them, or those of IPv6; once for each [default: some that are free]
    #[arg(long, value_name = "IP/24|IP/16|IP/64")]
    subnet: Vec<Addresses>,
    /// The host's own address there [default: the first one]
    #[arg(long, value_name = "IP", requires = "subnet")]
    gateway: Option<Ipv4Addr>,
    /// Give it IPv6 addresses, too
    #[arg(long)]
    ipv6: bool,
    /// Let nothing out of there
    #[arg(long)]
    internal: bool,
    /// A name that no other network has
    #[arg(value_parser = network::new_name)]
    name: String,
}

/// What `--subnet` says.
#[derive(Debug, Clone, Copy)]
enum Addresses {
    Ipv4(Subnet),
    Ipv6(Prefix),
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Addresses, String> {
        if text.contains(':') { text.parse().map(Addresses::Ipv6) } else { text.parse().map(Addresses::Ipv4) }
    }
}

/// All that `network` does, in order.
pub fn network(args: &Args) -> Result<u8> {
    let state = args.common.begin()?;
    let host = Netlink::open(NetlinkRoute)?;
    match &args.what {
        What::Create(create) => make(&host, create),
        What::Ls { quiet } => list(&host, *quiet),
        What::Inspect { networks } => inspect(&host, networks),
        What::Rm { networks } => {
            let _alone = network::hold_alone()?;
            several::each(networks, |word| {
                let bridge = named(&host, word)?;
                let is_used = is_used(&host, &bridge)?;
                ensure!(
                    !is_used,
                    "network {} has containers; network inspect says which ones",
                    bridge.network
                );
                remove(&host, &bridge)?;
                output::print_line(&word.to_string_lossy()).map(|()| true)
            })
        }
        What::Connect(args) => connect::connect(&host, args, &state),
        What::Disconnect(args) => connect::disconnect(&host, args, &state),
        What::Prune { .. } => prune(&host),
    }
}

fn make(host: &Netlink, create: &Create) -> Result<u8> {
    let (mut subnet, mut ipv6) = (None, None);
    for one in &create.subnet {
        let is_second = match one {
            Addresses::Ipv4(one) => subnet.replace(*one).is_some(),
            Addresses::Ipv6(one) => ipv6.replace(*one).is_some(),
        };
        ensure!(!is_second, "--subnet: a network has one of IPv4 and one of IPv6");
    }
    ensure!(create.ipv6 || ipv6.is_none(), "--subnet: without --ipv6 the network has no IPv6 addresses");
    let ipv6 = if create.ipv6 { Some(ipv6.map_or_else(Prefix::random, Ok)?) } else { None };
    let subnet = match (subnet, create.gateway) {
        (Some(subnet), Some(gateway)) => {
            ensure!(
                subnet.can_be_given(gateway),
                "the gateway {gateway} is no address that the host could have in {subnet}"
            );
            Some(Subnet { gateway, ..subnet })
        }
        (None, Some(_)) => bail!("--gateway: without an IPv4 --subnet it's the first address of one"),
        (subnet, None) => subnet,
    };
    let _alone = network::hold_alone()?;
    let is_there = bridge::find(host, &create.name)?.is_some();
    ensure!(!is_there, "network with name {} already exists", create.name);
    let wanted = Wanted { network: &create.name, subnet, ipv6, is_internal: create.internal };
    let made = bridge::create(host, &wanted)?;
    output::print_line(&made.network)?;
    Ok(0)
}

fn named(host: &Netlink, word: &OsStr) -> Result<Bridge> {
    let name = word.to_str().with_context(|| format!("No such network: {}", word.display()))?;
    bridge::named(host, name)
}

fn list(host: &Netlink, quiet: bool) -> Result<u8> {
    let all = bridge::all(host)?;
    if quiet {
        for bridge in all {
            output::print_line(&bridge.network)?;
        }
        return Ok(0);
    }
    let mut rows = Vec::new();
    for bridge in all {
        let containers = neighbours::all(&bridge)?.len();
        let leads = if bridge.is_internal { "nowhere" } else { "out" };
        let subnets = subnets(&bridge).join(", ");
        rows.push([bridge.network, bridge.name, subnets, leads.to_string(), containers.to_string()]);
    }
    output::print(table::text(["NETWORK", "BRIDGE", "SUBNET", "LEADS", "CONTAINERS"], &rows).as_bytes())?;
    Ok(0)
}

fn inspect(host: &Netlink, networks: &[OsString]) -> Result<u8> {
    let mut found = Vec::new();
    let status = several::each(networks, |word| {
        let bridge = named(host, word)?;
        let containers = neighbours::all(&bridge)?;
        found.push(shown(&bridge, &containers));
        Ok(true)
    })?;
    output::print_line(&serde_json::to_string_pretty(&found)?)?;
    Ok(status)
}

/// As they're written: that of IPv4, and that of IPv6 if there is one.
fn subnets(bridge: &Bridge) -> Vec<String> {
    let ipv6 = bridge.ipv6.map(|prefix| prefix.to_string());
    [Some(bridge.subnet.to_string()), ipv6].into_iter().flatten().collect()
}

fn shown(bridge: &Bridge, containers: &[Neighbour]) -> Value {
    let of_one = |one: &Neighbour| {
        let address = format!("{}/{}", one.address, bridge.subnet.prefix);
        let mut known = json!({
            "Name": one.name, "IPv4Address": address, "MacAddress": links::shown(one.mac),
        });
        if let Some(ipv6) = bridge.ipv6 {
            known["IPv6Address"] = json!(format!("{}/{PREFIX}", ipv6.address(one.address)));
        }
        known
    };
    let containers: serde_json::Map<_, _> =
        containers.iter().map(|one| (one.id.clone(), of_one(one))).collect();
    let pairs = subnets(bridge).into_iter().zip(bridge.gateways());
    let config: Vec<_> =
        pairs.map(|(subnet, gateway)| json!({"Subnet": subnet, "Gateway": gateway})).collect();
    json!({
        "Name": bridge.network,
        "Driver": "bridge",
        "EnableIPv6": bridge.ipv6.is_some(),
        "Internal": bridge.is_internal,
        "IPAM": {"Config": config},
        "Containers": containers,
        "Options": {"com.docker.network.bridge.name": bridge.name},
    })
}

/// Takes a network away that nobody is on. Call it with the lock held: nobody gets plugged in meanwhile.
fn remove(host: &Netlink, bridge: &Bridge) -> Result<()> {
    // First: if we're killed now, the next container makes them again. Of a bridge that's gone, nobody would miss them.
    rules::remove(&bridge.name)?;
    links::delete(host, &bridge.name)
}

/// Whether something is plugged in. A cable of a container that has just ended may be there for another moment.
fn is_used(host: &Netlink, bridge: &Bridge) -> Result<bool> {
    for _ in 0..300 {
        if links::plugged_in(host, bridge.index)?.is_empty() {
            return Ok(false);
        }
        sleep(Duration::from_millis(10));
    }
    Ok(true)
}

fn prune(host: &Netlink) -> Result<u8> {
    let _alone = network::hold_alone()?;
    for bridge in bridge::all(host)? {
        if bridge.network != bridge::DEFAULT && links::plugged_in(host, bridge.index)?.is_empty() {
            remove(host, &bridge)?;
            output::print_line(&bridge.network)?;
        }
    }
    Ok(0)
}
