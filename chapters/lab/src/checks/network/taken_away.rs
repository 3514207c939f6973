//! Networks that are taken away, and interfaces that are somebody else's: `network rm` and `prune`.

use anyhow::{Context, Result};

use super::joined::is_on;
use super::names::named;
use super::networks::{make, only_networks};
use super::world::nft;
use super::{
    addresses, arrange, asked, end, end_in, interfaces, is_up, no_bridge, only_cables, seen, server, sleeper,
};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-rm",
        Network,
        "network rm says each name; with the network its bridge and its rules go, and all else stays as it was.",
        rm,
    ),
    Check::new(
        "net-rm-used",
        Network,
        "A network with containers is not taken away: network rm refuses with 1 and its name, and does the others.",
        used,
    ),
    Check::new(
        "net-rm-default",
        Network,
        "network rm bridge takes the default network away, and the next run makes it again.",
        default,
    ),
    Check::new(
        "net-prune",
        Network,
        "network prune takes all networks away that no container is on, but for bridge, and says their names.",
        prune,
    ),
    Check::new(
        "net-foreign",
        Network,
        "An interface that somebody else has made is no network, whatever it's called: it is not listed, used or taken away.",
        foreign,
    ),
    Check::new(
        "net-race-rm",
        Network,
        "While containers start, network rm either takes their network away before them or not at all.",
        race,
    ),
];

/// All that's on the host: its interfaces, and its rules.
fn host() -> Result<(Vec<String>, String)> {
    Ok((interfaces(None)?, nft(&["list", "ruleset"])?))
}

fn rm(lab: &Lab) -> Result<()> {
    nft(&["add table ip others; add chain ip others c { type filter hook forward priority 0; }; \
           add rule ip others c ip daddr 192.168.77.1 drop; add table inet byhand1; add table ip byhand11"])?;
    arrange(&["link", "add", "byhand11", "type", "veth", "peer", "name", "other"])?;
    let stays = sleeper(lab)?;
    end(&stays)?;
    let before = host()?;
    for name in ["one", "two", "three"] {
        make(lab, &[], name)?;
        lab.run(["true"]).with(["--network", name]).finish()?.succeeds()?;
    }
    lab.says("network", ["rm", "one"], "one\n")?;
    let outcome = lab.call("network", ["rm", "two", "nonet", "three"]).finish()?;
    outcome.exits(1)?.prints("two\nthree\n")?.mentions("No such network: nonet")?;
    let after = host()?;
    see::same(&outcome.line, "the host's interfaces:", before.0, after.0)?;
    see::same(&outcome.line, "all rules", before.1, after.1)?;
    lab.refuses("network", ["rm", "one"], "No such network: one")?;
    only_networks(lab, &["bridge"])
}

fn used(lab: &Lab) -> Result<()> {
    for name in ["one", "two"] {
        make(lab, &[], name)?;
    }
    let one = server(lab, &["--network", "one"], "hello")?;
    let there = format!("{}:80", end_in(&one, "172.30.1.", 24)?.address);
    asked(&there)?; // it serves
    let bridge = || -> Result<_> {
        let seen = seen("byhand1")?;
        Ok((seen["ifindex"].clone(), is_up(&seen), addresses(&seen)))
    };
    let before = bridge()?;
    let outcome = lab.call("network", ["rm", "one", "two"]).finish()?;
    outcome.exits(1)?.prints("two\n")?.mentions("one")?;
    see::same(&outcome.line, "its number, to be up, and its addresses:", before, bridge()?)?;
    asked(&there)?;
    only_networks(lab, &["one"])?;
    one.remove()?;
    lab.says("network", ["rm", "one"], "one\n")?;
    only_networks(lab, &[])
}

fn default(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?; // the image is there
    let before = host()?;
    for _ in 0..2 {
        let one = sleeper(lab)?;
        end(&one)?;
        lab.refuses("network", ["rm", "bridge"], "bridge")?;
        end(&one)?;
        one.remove()?;
        lab.says("network", ["rm", "bridge"], "bridge\n")?;
        let after = host()?;
        see::same("network rm bridge", "the host's interfaces:", &before.0, &after.0)?;
        see::same("network rm bridge", "all rules", &before.1, &after.1)?;
        no_bridge("network rm bridge")?;
        only_networks(lab, &[])?;
    }
    Ok(())
}

fn prune(lab: &Lab) -> Result<()> {
    for name in ["one", "two", "three"] {
        make(lab, &[], name)?;
    }
    let one = named(lab, "ann", &["--network", "two"])?;
    lab.run(["true"]).finish()?.succeeds()?;
    only_cables("one run", &[])?; // nobody is on the default network any more
    let outcome = lab.call("network", ["prune"]).finish()?;
    let output = outcome.succeeds()?.output();
    let mut names: Vec<_> = output.lines().collect();
    names.sort_unstable();
    see::same(&outcome.line, "the names on stdout:", vec!["one", "three"], names)?;
    only_networks(lab, &["bridge", "two"])?;
    end_in(&one, "172.30.2.", 24)?;
    lab.says("network", ["prune", "-f"], "")?; // as scripts that were written for Docker say it
    only_networks(lab, &["bridge", "two"])
}

/// Somebody else's, whose names are as ours: a cable, and a bridge with all that a network has but its hardware address.
fn foreign(lab: &Lab) -> Result<()> {
    arrange(&["link", "add", "byhand1", "type", "veth", "peer", "name", "other"])?;
    for name in ["byhand2", "byhand7"] {
        arrange(&["link", "add", name, "address", "02:00:00:00:00:07", "type", "bridge"])?;
        arrange(&["link", "set", name, "alias", "theirs"])?;
    }
    arrange(&["address", "add", "10.77.0.1/24", "dev", "byhand7"])?;
    let all = || ["byhand1", "byhand2", "byhand7"].iter().map(|name| seen(name)).collect::<Result<Vec<_>>>();
    let before = all()?;
    only_networks(lab, &[])?;
    make(lab, &[], "one")?;
    let ours = seen("byhand3")?;
    see::same(
        "network create one",
        "the kind of byhand3:",
        Some("bridge"),
        ours["linkinfo"]["info_kind"].as_str(),
    )?;
    only_networks(lab, &["one"])?;
    lab.run(["true"]).with(["--network", "theirs"]).finish()?.refuses(&[125])?.mentions("theirs")?;
    for name in ["theirs", "byhand1", "byhand2", "byhand7"] {
        lab.refuses("network", ["rm", name], &format!("No such network: {name}"))?;
    }
    make(lab, &[], "theirs")?; // nobody's name yet
    lab.says("network", ["rm", "theirs"], "theirs\n")?;
    lab.says("network", ["prune"], "one\n")?;
    see::same("network create, rm and prune", "the others' interfaces to be as they were:", before, all()?)
}

/// When `network rm` begins: how far the first one of the runs has come.
const MOMENTS: [&str; 4] = ["before it", "after its start", "when it has a record", "when it has a cable"];

fn race(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?; // the image is there
    for moment in [MOMENTS, MOMENTS].concat() {
        make(lab, &[], "one")?;
        let mut rm = None;
        let begin = || lab.call("network", ["rm", "one"]).start();
        if moment == MOMENTS[0] {
            rm = Some(begin()?);
        }
        let run = || lab.run(["sleep", "1000"]).with(["-d", "--network", "one"]).start();
        let mut runs = vec![run()?];
        let is_so = || -> Result<bool> {
            match moment {
                "when it has a record" => Ok(!lab.containers().is_empty()),
                "when it has a cable" => {
                    Ok(interfaces(None)?.iter().any(|name| name.starts_with("byhand1-")))
                }
                _ => Ok(true),
            }
        };
        let comes = wait_for(SOON, || Ok(is_so()?.then_some(())))?;
        comes.with_context(|| format!("the first run does not get so far: {moment}"))?;
        let rm = rm.map_or_else(begin, Ok)?;
        runs.extend([run()?, run()?]);
        let removed = rm.finish()?;
        let runs = runs.into_iter().map(|run| run.finish()).collect::<Result<Vec<_>>>()?;
        settled(lab, removed, runs)?;
    }
    Ok(())
}

/// Fails unless all of the runs have a network that's there, or none of them.
fn settled(lab: &Lab, removed: Outcome, runs: Vec<Outcome>) -> Result<()> {
    if removed.status.success() {
        removed.succeeds()?.prints("one\n")?;
        only_networks(lab, &[])?;
        runs.iter().try_for_each(|run| run.refuses(&[125])?.mentions("one").map(drop))?;
        let did = "run on a network that is taken away meanwhile";
        return see::same(did, "containers that are left:", Vec::new(), lab.containers());
    }
    removed.refuses(&[1])?.mentions("one")?;
    only_networks(lab, &["one"])?;
    let all = runs.into_iter().map(|run| lab.detached(run)).collect::<Result<Vec<_>>>()?;
    for one in all {
        is_on(&one, "byhand1", "172.30.1.")?;
        one.remove()?;
    }
    lab.says("network", ["rm", "one"], "one\n")
}
