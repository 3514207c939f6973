//! `network connect` and `network disconnect`: cables of a container that runs. setns(2).

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ch07_lifecycle::find;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;

use crate::cable::{self, Inside, Place};
use crate::endpoint::Endpoint;
use crate::hosts;
use crate::neighbours::{self, Around};
use crate::netlink::Netlink;
use crate::network::{self, Network};
use crate::options::NetworkOptions;
use crate::publish::PUBLISHED;

/// What `network connect` is asked for.
#[derive(Debug, clap::Args)]
pub struct Connect {
    /// The container's address there
    #[arg(long, value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// One more name for it there; may be given again
    #[arg(long, value_name = "NAME", value_parser = hosts::alias)]
    alias: Vec<String>,
    #[command(flatten)]
    which: Which,
}

/// What `network disconnect` is asked for.
#[derive(Debug, clap::Args)]
pub struct Disconnect {
    #[command(flatten)]
    which: Which,
}

/// Which ones they are about.
#[derive(Debug, clap::Args)]
struct Which {
    /// The network
    network: String,
    /// The container: its name, its id, or the beginning of that
    container: OsString,
}

/// A container whose cables are to be changed.
struct Changed {
    record: Record,
    options: NetworkOptions,
    /// `None` if it doesn't run. Then nobody starts it meanwhile.
    process1: Option<Process1>,
}

/// Connects it. What a container doesn't have that isn't running, it will have when it's started.
pub fn connect(host: &Netlink, args: &Connect, state: &Path) -> Result<u8> {
    let _alone = network::hold_alone()?; // two who do the same would lay two cables
    cable::clear_half_laid(host, &args.which.network)?;
    let changed = args.which.begin(state)?;
    let endpoint = Endpoint { aliases: args.alias.clone(), ip: args.ip, ..args.which.endpoint()? };
    endpoint.ensure_possible()?;
    endpoint.ensure_sound()?;
    let mut endpoints = changed.options.endpoints();
    let is_meant = |name: &str| name == args.which.network;
    // Somebody may have been killed between the cable and its note.
    let is_noted = endpoints.iter().any(|one| is_meant(one.network.name()));
    let is_there = match &changed.process1 {
        Some(_) => neighbours::around(changed.record.id())?.iter().any(|one| is_meant(&one.bridge.network)),
        None => is_noted,
    };
    ensure!(
        !(is_noted && is_there),
        "endpoint with name {} already exists in network {}",
        args.which.container.display(),
        args.which.network
    );
    if let (Some(process1), false) = (&changed.process1, is_there) {
        cable::plug_in(&changed.record, &endpoint, &Inside::of_running(process1)?)?;
    }
    endpoints.retain(|one| !is_meant(one.network.name()));
    endpoints.push(endpoint);
    changed.note(endpoints)
}

/// Disconnects it.
pub fn disconnect(args: &Disconnect, state: &Path) -> Result<u8> {
    let _alone = network::hold_alone()?;
    let changed = args.which.begin(state)?;
    let mut endpoints = changed.options.endpoints();
    let is_meant = |name: &str| name == args.which.network;
    let is_noted = endpoints.iter().any(|one| is_meant(one.network.name()));
    let around = match &changed.process1 {
        Some(_) => neighbours::around(changed.record.id())?,
        None => Vec::new(),
    };
    let place = |one: Around| Place { address: one.own.address, bridge: one.bridge };
    let places: Vec<_> = around.into_iter().map(place).collect();
    let meant = places.iter().find(|place| is_meant(&place.bridge.network));
    if !is_noted && meant.is_none() {
        args.which.endpoint()?.ensure_possible()?; // or there's no such network at all
        let (network, container) = (&args.which.network, args.which.container.display());
        bail!("container {container} is not connected to network {network}");
    }
    if let (Some(process1), Some(meant)) = (&changed.process1, meant) {
        let has_ports = cable::outward(&places) == Some(meant) && changed.record.has(PUBLISHED)?;
        ensure!(!has_ports, "published ports lead to the container by network {}", args.which.network);
        cable::unplug(meant, &places, &Inside::of_running(process1)?)?;
    }
    endpoints.retain(|one| !is_meant(one.network.name()));
    changed.note(endpoints)
}

impl Which {
    fn begin(&self, state: &Path) -> Result<Changed> {
        let record = find::one(state, &self.container)?;
        let process1 = Process1::of(&record)?;
        let record = match &process1 {
            Some(_) => record,
            None => match record.lock()? {
                Some(held) => held,
                None => bail!("container {} is just starting or ending", self.container.display()),
            },
        };
        let options = NetworkOptions::of(&record)?;
        let name = options.network().name();
        ensure!(
            matches!(options.network(), Network::Named(_) | Network::Nowhere),
            "container {} was started with --network {name}, and stays so",
            self.container.display()
        );
        Ok(Changed { record, options, process1 })
    }

    /// The network, if it can be one's name.
    fn endpoint(&self) -> Result<Endpoint> {
        match self.network.parse() {
            Ok(network @ Network::Named(_)) => Ok(Endpoint::on(network)),
            _ => bail!("No such network: {}", self.network),
        }
    }
}

impl Changed {
    /// Writes down where it's to be when it's started again.
    fn note(&self, endpoints: Vec<Endpoint>) -> Result<u8> {
        let (fact, words) = self.options.with_endpoints(endpoints).fact();
        self.record.write_bytes(fact, &words).context("noting the container's networks")?;
        Ok(0)
    }
}
