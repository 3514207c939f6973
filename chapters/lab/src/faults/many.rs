//! A network that is nearly full: nobody is in anybody's way, and all of it goes at once. Heavier than a check is, which a
//! learner's machine has to bear.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::network::asker::{Asker, inside};
use crate::checks::network::ip;
use crate::checks::network::world::nft;
use crate::machine::process::Process;
use crate::see::{self, wait_for};
use crate::trial::kept::is_id;
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[Check::new(
    "network-full",
    Network,
    "Of 250 containers on one network all have addresses of their own and find all others, and with their end all is gone.",
    full,
)];

/// How many there are, of the 253 that have a place.
const MANY: usize = 250;

/// How many start at the same time.
const AT_ONCE: usize = 16;

/// Each tenth has a port of the host, and so a table of rules.
const PUBLISHES: usize = 10;

/// The network, and its bridge.
const NAME: &str = "full";
const BRIDGE: &str = "byhand1";

/// The tables of this network and of the default one, which stay.
const TABLES: usize = 2;

/// When all must be gone, after their end. A second is enough on a machine that does nothing else.
const GONE: Duration = Duration::from_secs(5);

fn name(number: usize) -> String {
    format!("of-many-{number}")
}

/// Dropped, they are removed, with one command for all.
struct All<'a> {
    lab: &'a Lab,
    ids: Vec<String>,
}

impl Drop for All<'_> {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            let words = ["-f"].into_iter().chain(self.ids.iter().map(String::as_str));
            let _ = self.lab.call("rm", words).finish(); // as for one of them
        }
    }
}

fn full(lab: &Lab) -> Result<()> {
    lab.says("network", ["create", NAME], &format!("{NAME}\n"))?;
    for network in ["bridge", NAME] {
        lab.run(["true"]).with(["--network", network]).finish()?.succeeds()?; // the image is there, and the rules
    }
    let rules = nft(&["list", "ruleset"])?;
    let began = Instant::now();
    let mut all = All { lab, ids: Vec::new() };
    let line = start(&mut all)?;
    println!("{MANY} containers run after {:?}", began.elapsed());

    let processes = processes(&all)?;
    let addresses = addresses(&all, &processes)?;
    find_each_other(&line, &processes, &addresses)?;
    println!("all have found each other after {:?}", began.elapsed());
    let tables = nft(&["list", "tables"])?.lines().count();
    see::same(&line, "tables of rules:", TABLES + MANY / PUBLISHES, tables)?;

    let end = Instant::now();
    for process in &processes {
        process.signal(Signal::SIGKILL);
    }
    let mut last = BTreeMap::new();
    wait_for(GONE, || {
        let left = left(lab)?;
        last.extend(left.into_iter().filter(|one| one.1 > 0).map(|one| (one.0, end.elapsed())));
        Ok(left.iter().all(|one| one.1 == 0).then_some(()))
    })?;
    println!("all gone after {:?}; last seen: {last:?}", end.elapsed());
    let killed = "all of their commands are killed at once";
    let left: Vec<_> = left(lab)?.into_iter().filter(|one| one.1 > 0).collect();
    see::same(killed, &format!("left after {:?}:", end.elapsed()), Vec::new(), left)?;
    see::same(killed, "all rules", rules, nft(&["list", "ruleset"])?)?;
    all.ids.clear(); // nobody is left
    lab.says("network", ["rm", NAME], &format!("{NAME}\n"))
}

/// How much there is of what goes with them.
fn left(lab: &Lab) -> Result<[(&'static str, usize); 4]> {
    let cables = ip(None, &["link", "show", "master", BRIDGE])?.len();
    let tables = nft(&["list", "tables"])?.lines().count().saturating_sub(TABLES);
    let (processes, records) = (lab.mark().processes().len(), lab.containers().len());
    Ok([("cables", cables), ("tables", tables), ("processes", processes), ("records", records)])
}

/// Starts them. Returns the line of the last one.
fn start(all: &mut All<'_>) -> Result<String> {
    let lab = all.lab;
    let run = |number: usize| {
        let publishes = number.is_multiple_of(PUBLISHES).then_some(["-p", "80"]);
        let run = lab.run(["sleep", "1000"]).with(["-d", "--network", NAME, "--name", &name(number)]);
        run.with(publishes.into_iter().flatten()).start()
    };
    let mut line = String::new();
    for first in (0..MANY).step_by(AT_ONCE) {
        let runs = (first..MANY.min(first + AT_ONCE)).map(run).collect::<Result<Vec<_>>>()?;
        let outcomes = runs.into_iter().map(Running::finish).collect::<Result<Vec<_>>>()?;
        // First all of them, so that they are removed if one has failed.
        let said = outcomes.iter().map(|outcome| outcome.output().trim().to_string());
        all.ids.extend(said.filter(|id| is_id(id)));
        for outcome in outcomes {
            outcome.succeeds()?;
            line = outcome.line;
        }
    }
    see::same(&line, "ids that all runs have said:", MANY, all.ids.len())?;
    Ok(line)
}

/// Their processes 1, in the order of their names. Each is known by its hostname.
fn processes(all: &All<'_>) -> Result<Vec<Process>> {
    let is_first = |process: &Process| {
        let numbers = process.numbers();
        numbers.len() > 1 && numbers.last() == Some(&1)
    };
    let found = all.lab.mark().processes().into_iter().filter(is_first);
    let found: BTreeMap<_, _> =
        found.map(|process| Ok((process.hostname()?, process))).collect::<Result<_>>()?;
    let of =
        |id: &String| found.get(id).copied().with_context(|| format!("no process 1 has the hostname {id}"));
    all.ids.iter().map(of).collect()
}

/// Their addresses, as the kernel has them in their own networks: all different, and those that `network inspect` tells.
fn addresses(all: &All<'_>, processes: &[Process]) -> Result<Vec<String>> {
    let inspect = all.lab.call("network", ["inspect", NAME]).finish()?;
    let told: Value = serde_json::from_slice(&inspect.succeeds()?.stdout)?;
    let told = &told[0]["Containers"];
    let addresses = processes.iter().map(|process| inside(*process, own)).collect::<Result<Vec<_>>>()?;
    let different = addresses.iter().collect::<BTreeSet<_>>().len();
    see::same(&inspect.line, "different addresses:", MANY, different)?;
    for (id, address) in all.ids.iter().zip(&addresses) {
        let of_it = told[id]["IPv4Address"].as_str();
        see::same(&inspect.line, &format!("of {id}:"), Some(format!("{address}/24").as_str()), of_it)?;
    }
    see::same(&inspect.line, "containers:", Some(MANY), told.as_object().map(serde_json::Map::len))?;
    Ok(addresses.iter().map(Ipv4Addr::to_string).collect())
}

/// What somebody in here would send to the host with. Nothing is sent.
fn own() -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("making a socket")?;
    socket.connect("172.30.1.1:9").context("the container has no way to its gateway")?;
    match socket.local_addr()? {
        SocketAddr::V4(own) => Ok(*own.ip()),
        SocketAddr::V6(own) => anyhow::bail!("{own} is no address of IPv4"),
    }
}

/// One finds all of them, and each finds another: so all ask, and all are asked for from several places.
fn find_each_other(line: &str, processes: &[Process], addresses: &[String]) -> Result<()> {
    for (number, process) in processes.iter().enumerate() {
        let asker = Asker::beside(*process, line)?;
        let others = if number == 0 { 0..MANY } else { number + 1..number + 2 };
        for other in others.map(|other| other % MANY) {
            asker.finds(&name(other), &[&addresses[other]])?;
        }
    }
    Ok(())
}
