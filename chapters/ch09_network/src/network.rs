//! Which network a container is on: `--network`. network_namespaces(7).

use std::str::FromStr;

use anyhow::{Context, Error, Result};
use ch01_run::namespaces;
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::record::Record;
use nix::sched::CloneFlags;

use crate::cable;

/// The options of `run` that are about networks.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct NetworkOptions {
    /// The network that the container is on
    #[arg(long, visible_alias = "net", value_name = "bridge|none|host", default_value = "bridge")]
    network: Network,
}

/// Their names, each of which has a value.
pub const OPTIONS: [&str; 2] = ["--network", "--net"];

/// The fact that says which network it is. Those from before this chapter have none.
const FACT: &str = "network";

/// What a container is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The host's bridge, and with it all others that are on it.
    Bridge,
    /// Nobody: it has a loopback device for itself.
    None,
    /// Whatever the host is: it has no network of its own.
    Host,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(name: &str) -> Result<Network, String> {
        match name {
            "bridge" | "default" => Ok(Network::Bridge),
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            _ => Err("No such network".to_string()),
        }
    }
}

impl Network {
    fn name(self) -> &'static str {
        match self {
            Network::Bridge => "bridge",
            Network::None => "none",
            Network::Host => "host",
        }
    }

    /// The network that the container of this record was made for.
    pub fn of(record: &Record) -> Result<Network> {
        let name = record.read(FACT)?;
        let network = name.map_or(Ok(Network::None), |name| name.parse());
        network
            .map_err(Error::msg)
            .with_context(|| format!("the fact \"network\" of container {}", record.id()))
    }

    /// Has a container be on this network.
    fn on(self, plan: Plan) -> Plan {
        let mut namespaces = namespaces::OWN;
        namespaces.set(CloneFlags::CLONE_NEWNET, self != Network::Host);
        Plan { namespaces, before_start: cable::connect, ..plan }
    }
}

impl NetworkOptions {
    /// Has a new container be on the network that was asked for.
    pub fn plan(self, mut plan: Plan) -> Plan {
        plan.facts.push((FACT, format!("{}\n", self.network.name()).into_bytes()));
        self.network.on(plan)
    }
}

/// Has a container that has been there before be on its network.
pub fn again(record: &Record, plan: Plan) -> Result<Plan> {
    Ok(Network::of(record)?.on(plan))
}
