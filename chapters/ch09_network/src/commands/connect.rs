//! `network connect` and `network disconnect`: cables of a container that runs. setns(2).

use std::ffi::OsString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ch07_lifecycle::find;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;
use ch07_lifecycle::state::State;

use crate::cable::{self, Inside, Place};
use crate::endpoint::Endpoint;
use crate::hosts;
use crate::netlink::Netlink;
use crate::network::{self, Network};
use crate::options::NetworkOptions;
use crate::publish;

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
    /// Nothing more: it's understood because Docker has it
    #[arg(short, long)]
    force: bool,
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
    /// As long as it's open, nobody else changes anybody's.
    _alone: File,
}

/// Connects it. What a container doesn't have that isn't running, it will have when it's started.
pub fn connect(host: &Netlink, args: &Connect, state: &Path) -> Result<u8> {
    let wanted = Endpoint { aliases: args.alias.clone(), ip: args.ip, ..Endpoint::on(args.which.network()?) };
    wanted.ensure_possible()?;
    wanted.ensure_sound()?;
    let changed = args.which.begin(state)?; // with a lock: two who do the same would lay two cables
    cable::clear_half_laid(host, wanted.network.name())?;
    let mut endpoints = changed.options.endpoints();
    let noted = endpoints.iter_mut().find(|one| one.network == wanted.network);
    let there = changed.places()?.into_iter().find(|one| one.bridge.network == wanted.network.name());
    ensure!(
        noted.is_none() || (there.is_none() && changed.process1.is_some()),
        "endpoint with name {} already exists in network {}",
        args.which.container.display(),
        args.which.network
    );
    if let Some(process1) = &changed.process1 {
        // Without a note it's of somebody who was killed, or of the container's last run.
        there.as_ref().map_or(Ok(()), cable::take_away)?;
        cable::plug_in(&changed.record, &wanted, &Inside::of_running(process1)?)?;
    }
    match noted {
        Some(noted) => *noted = wanted,
        None => endpoints.push(wanted),
    }
    changed.note(endpoints)
}

/// Disconnects it.
pub fn disconnect(host: &Netlink, args: &Disconnect, state: &Path) -> Result<u8> {
    let network = args.which.network()?;
    let changed = args.which.begin(state)?;
    cable::clear_half_laid(host, network.name())?;
    let mut endpoints = changed.options.endpoints();
    let is_noted = endpoints.iter().any(|one| one.network == network);
    let (meant, left): (Vec<_>, Vec<_>) =
        changed.places()?.into_iter().partition(|one| one.bridge.network == network.name());
    if !is_noted && meant.is_empty() {
        Endpoint::on(network.clone()).ensure_possible()?; // or there's no such network at all
        let (network, container) = (network.name(), args.which.container.display());
        bail!("container {container} is not connected to network {network}");
    }
    if let Some(process1) = &changed.process1 {
        let published = publish::published(&changed.record)?;
        let has_ports = published.is_some_and(|(by, _)| by == network.name());
        ensure!(!has_ports, "published ports lead to the container by network {}", network.name());
        let inside = Inside::of_running(process1)?;
        meant.iter().try_for_each(cable::take_away)?;
        left.iter().try_for_each(|place| inside.lead_out(&place.bridge))?;
    }
    endpoints.retain(|one| one.network != network);
    changed.note(endpoints)
}

impl Which {
    /// Finds the container, and takes the locks: first the record's, for which one may have to wait for long, as whoever
    /// starts it does, too.
    fn begin(&self, state: &Path) -> Result<Changed> {
        let at_work = || format!("container {} is just starting or ending", self.container.display());
        let record = find::one(state, &self.container)?;
        let held = match Process1::of(&record)? {
            Some(_) => None,
            None => Some(record.lock()?.with_context(at_work)?),
        };
        let alone = network::hold_alone()?;
        let (record, process1) = match held {
            Some(held) => (held, None),
            // Only now: before that it might have been waiting for its cables.
            None => {
                let process1 = Process1::of(&record)?.filter(|_| State::of(&record).is_ok_and(State::runs));
                let process1 = process1.with_context(at_work)?;
                (record, Some(process1))
            }
        };
        let options = NetworkOptions::of(&record)?;
        let name = options.network().name();
        ensure!(
            matches!(options.network(), Network::Named(_) | Network::Nowhere),
            "container {} was started with --network {name}, and stays so",
            self.container.display()
        );
        Ok(Changed { record, options, process1, _alone: alone })
    }

    /// The network, if it can be one's name.
    fn network(&self) -> Result<Network> {
        match self.network.parse() {
            Ok(network @ Network::Named(_)) => Ok(network),
            _ => bail!("No such network: {}", self.network),
        }
    }
}

impl Changed {
    /// Where it is now. The cables of one that doesn't run are its last ones, and going.
    fn places(&self) -> Result<Vec<Place>> {
        if self.process1.is_none() {
            return Ok(Vec::new());
        }
        cable::places(self.record.id())
    }

    /// Writes down where it's to be when it's started again.
    fn note(&self, endpoints: Vec<Endpoint>) -> Result<u8> {
        let (fact, words) = self.options.with_endpoints(endpoints).fact();
        self.record.write_bytes(fact, &words).context("noting the container's networks")?;
        Ok(0)
    }
}
