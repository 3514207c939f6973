//! `network connect` several times at once, and killed in the middle.

use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::net::if_::if_nameindex;
use nix::sys::signal::Signal;

use super::asker::Asker;
use super::connected::{connect, did};
use super::disconnected::disconnect;
use super::joined::plugged;
use super::names::named;
use super::networks::make;
use super::only_ends;
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{SOON, differs, wait_for};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-connect-race",
        Network,
        "Of several network connect at once for one container and network one does it; two networks get two interfaces.",
        race,
    ),
    Check::new(
        "net-connect-killed",
        Network,
        "After a kill -9 of the keeper nothing stays of what was connected; after one of network connect it can be done again.",
        killed,
    ),
];

/// Runs these commands of `network` at once. So many of them have to be done; returns those, and the refused ones.
fn at_once(lab: &Lab, commands: &[&[&str]], expected: usize) -> Result<(Vec<Outcome>, Vec<Outcome>)> {
    let runs = commands.iter().map(|words| lab.call("network", *words).start());
    let runs = runs.collect::<Result<Vec<_>>>()?; // all have begun
    let outcomes = runs.into_iter().map(|run| run.finish()).collect::<Result<Vec<_>>>()?;
    let (done, refused): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| outcome.status.success());
    if done.len() == expected {
        return Ok((done, refused));
    }
    let did: Vec<_> = commands.iter().map(|words| format!("network {}", words.join(" "))).collect();
    let errors: Vec<_> = refused.iter().map(Outcome::error).collect();
    let saw = format!("{}, and of the others {errors:?}", done.len());
    Err(differs(format!("at once: {}", did.join(", ")), format!("{expected} that are done"), saw))
}

fn race(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &[], "two")?;
    let (ann, _bob) = (named(lab, "ann", &[])?, named(lab, "bob", &[])?);
    for _ in 0..3 {
        let did = "network connect one ann, four times at once";
        let (_, refused) = at_once(lab, &[&["connect", "one", "ann"][..]; 4], 1)?;
        for one in refused {
            one.refuses(&[1])?.mentions("already exists in network one")?;
        }
        only_ends(did, &ann, &["eth0", "eth1"])?;
        has_cables(did, "byhand1-", 1)?;
        disconnect(lab, &["one", "ann"])?;
        at_once(lab, &[&["connect", "one", "ann"], &["connect", "two", "ann"]], 2)?;
        only_ends("network connect of two networks at once", &ann, &["eth0", "eth1", "eth2"])?;
        at_once(lab, &[&["disconnect", "one", "ann"], &["disconnect", "two", "ann"]], 2)?;
        only_ends("network disconnect of both at once", &ann, &["eth0"])?;
    }
    let (done, refused) = at_once(lab, &[&["rm", "one"], &["connect", "one", "ann"]], 1)?;
    if done[0].output().is_empty() {
        refused[0].refuses(&[1])?.mentions("one")?;
        plugged(&ann, "eth1", "byhand1", "172.30.1.")?;
        disconnect(lab, &["one", "ann"])?;
    } else {
        refused[0].refuses(&[1])?.mentions("No such network: one")?;
        only_ends(&done[0].line, &ann, &["eth0"])?;
        make(lab, &[], "one")?;
    }
    let words = |name| ["connect", "--ip", "172.30.1.88", "one", name];
    let (_, refused) = at_once(lab, &[&words("ann"), &words("bob")], 1)?;
    refused[0].refuses(&[1])?.mentions("Address already in use").map(drop)
}

/// The cables on the host whose names begin so.
fn cables(begins: &str) -> Result<Vec<String>> {
    let all = if_nameindex().context("listing interfaces")?; // ip(8) would take longer than what is watched here
    let names = all.iter().map(|one| one.name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with(begins)).collect())
}

/// Waits until there are so many of them.
fn has_cables(did: &str, begins: &str, expected: usize) -> Result<()> {
    match wait_for(SOON, || Ok((cables(begins)?.len() == expected).then_some(())))? {
        Some(()) => Ok(()),
        None => Err(differs(did, format!("{expected} cables {begins}…"), format!("{:?}", cables(begins)?))),
    }
}

fn killed(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--subnet", "10.9.8.0/24"], "two")?;
    let there = named(lab, "there", &["--network", "one"])?;
    let asker = Asker::of(&there)?;
    let ann = named(lab, "ann", &[])?;
    // How long it has had its cable when it's killed, and whether somebody disconnects first what may be there.
    for (moment, disconnects) in (0..8).map(|turn| (Duration::from_micros(400 * (turn / 2)), turn % 2 == 1)) {
        let mut run = lab.call("network", ["connect", "one", "ann"]).start()?;
        let end = Instant::now() + SOON;
        while cables("byhand1-")?.len() < 2 && run.ended()?.is_none() && Instant::now() < end {
            yield_now();
        }
        sleep(moment);
        run.signal(Signal::SIGKILL);
        run.finish()?;
        if disconnects {
            lab.call("network", ["disconnect", "one", "ann"]).finish()?;
        }
        let again = lab.call("network", ["connect", "one", "ann"]).finish()?;
        if !again.status.success() {
            again.refuses(&[1])?.mentions("already exists in network one")?; // it was done in time
        }
        let did = format!("network connect one ann, and kill -9 of it; then {}", again.line);
        only_ends(&did, &ann, &["eth0", "eth1"])?;
        asker.finds("ann", &[&plugged(&ann, "eth1", "byhand1", "172.30.1.")?.address])?;
        has_cables(&did, "byhand1-", 2)?;
        disconnect(lab, &["one", "ann"])?;
    }
    connect(lab, &["one", "ann"])?;
    connect(lab, &["two", "ann"])?;
    plugged(&ann, "eth2", "byhand2", "10.9.8.")?;
    lab.runtime_was_killed();
    ann.keeper()?.signal(Signal::SIGKILL);
    let did = did(
        "connect one ann, network connect two ann, and kill -9 of whoever is the parent of process 1",
        &ann,
    );
    for (begins, count) in [("byhand0-", 0), ("byhand1-", 1), ("byhand2-", 0)] {
        has_cables(&did, begins, count)?;
    }
    asker.soon_finds("ann", &[])?;
    lab.says("network", ["rm", "two"], "two\n")
}
