//! `--network container:NAME`: a container that has no network of its own, but another one's. setns(2).
//!
//! Nothing is made for it, and nothing has to go: the network is there as long as somebody is in it.

use anyhow::{Context, Result, ensure};
use ch01_run::child::Child;
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::find;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;

use crate::cable;
use crate::files;
use crate::network::Network;
use crate::options::NetworkOptions;

/// What is asked for, with the other container's id in the place of its name: another one may have that name when this
/// one is started again. Fails if there is no such container, or it doesn't run.
pub fn resolved(options: &NetworkOptions, plan: &Plan) -> Result<NetworkOptions> {
    let Some(name) = options.network().other() else { return Ok(options.clone()) };
    let other = find::one(&plan.state, name.as_ref())?;
    running(&other)?;
    // If that one's network is a third one's, so is this one's.
    let network = match NetworkOptions::of(&other)?.network() {
        third @ Network::Of(_) => third.clone(),
        _ => Network::of(other.id()),
    };
    Ok(options.with_network(network))
}

/// Has the child made in the other container's network. It's ours to go there and come back, for who is born somewhere
/// stays there.
pub fn birth(plan: &Plan, record: &Record, spawn: &mut dyn FnMut() -> Result<Child>) -> Result<Child> {
    let other = other(plan, &NetworkOptions::of(record)?)?;
    cable::within(&running(&other)?, spawn)
}

/// What the container knows of names and addresses: the same as the other one, and its own name.
pub fn give_files(plan: &Plan, record: &Record, options: &NetworkOptions) -> Result<()> {
    let other = other(plan, options)?;
    files::give(plan, record, &options.as_on(&NetworkOptions::of(&other)?), &cable::places(other.id())?)
}

fn other(plan: &Plan, options: &NetworkOptions) -> Result<Record> {
    let id = options.network().other().context("the network is no container's")?;
    let record = Record::open(&plan.state, id);
    ensure!(record.directory().exists(), "No such container: {id}");
    Ok(record)
}

fn running(other: &Record) -> Result<Process1> {
    let process1 = Process1::of(other)?;
    process1.with_context(|| format!("cannot join network of a non running container: {}", other.id()))
}
