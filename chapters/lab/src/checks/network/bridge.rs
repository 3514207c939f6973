//! The bridge, and who has which address.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{
    BRIDGE, GATEWAY, NETWORK, addresses, arrange, cables, end, is_up, no_bridge, only_cables, seen, sleeper,
};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, cannot_run};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "network-bridge",
        Network,
        "The host has the bridge byhand0 with the network's first address; it is up, and stays when the last container ends.",
        bridge,
    ),
    Check::new(
        "network-bridge-mac",
        Network,
        "The bridge keeps its hardware address, whoever is plugged in or out.",
        bridge_mac,
    ),
    Check::new(
        "network-no-router",
        Network,
        "The host doesn't take a container for its router by IPv6: the bridge's accept_ra is 0.",
        no_router,
    ),
    Check::new(
        "network-subnet-taken",
        Network,
        "If the host has another way to the network's addresses, run refuses with 125; a way to very many does no harm.",
        subnet_taken,
    ),
    Check::new(
        "network-foreign",
        Network,
        "An interface of somebody else that is called byhand0 is neither used nor changed: run refuses with 125.",
        foreign,
    ),
    Check::new(
        "network-twenty",
        Network,
        "Twenty containers that start at once, on a host without the bridge, have twenty addresses.",
        twenty,
    ),
    Check::new(
        "network-last-address",
        Network,
        "The last address that is free is given; after that run refuses with 125, and one that ends makes room.",
        last_address,
    ),
];

fn bridge(lab: &Lab) -> Result<()> {
    for _ in 0..2 {
        let outcome = lab.run(["true"]).finish()?;
        outcome.succeeds()?;
        only_cables(&outcome.line, &[])?;
        let bridge = seen(BRIDGE)?;
        see::same(&outcome.line, "its kind:", Some("bridge"), bridge["linkinfo"]["info_kind"].as_str())?;
        see::same(&outcome.line, "to be up:", true, is_up(&bridge))?;
        see::same(&outcome.line, "its addresses:", vec![format!("{GATEWAY}/24")], addresses(&bridge))?;
    }
    Ok(())
}

fn bridge_mac(lab: &Lab) -> Result<()> {
    let mut seen_macs = BTreeSet::new();
    let mut look = || -> Result<()> {
        seen_macs.insert(seen(BRIDGE)?["address"].as_str().unwrap_or_default().to_string());
        Ok(())
    };
    // The lowest of those that are plugged in would be the bridge's. Of so many, it hardly ever is the first.
    let all = (0..6).map(|_| {
        let one = sleeper(lab)?;
        look()?;
        Ok(one)
    });
    let all: Vec<_> = all.collect::<Result<_>>()?;
    for one in all {
        one.remove()?;
        look()?;
    }
    see::same("six containers, and their end", "hardware addresses of the bridge:", 1, seen_macs.len())
}

fn no_router(lab: &Lab) -> Result<()> {
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    let file = format!("/proc/sys/net/ipv6/conf/{BRIDGE}/accept_ra");
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Err(cannot_run("this kernel has no IPv6"));
    }
    see::same(&outcome.line, &file, "0\n".to_string(), fs::read_to_string(&file)?)
}

fn subnet_taken(lab: &Lab) -> Result<()> {
    arrange(&["link", "add", "other", "address", "02:00:00:00:00:08", "type", "bridge"])?;
    arrange(&["link", "set", "other", "up"])?;
    arrange(&["address", "add", "172.16.0.1/12", "dev", "other"])?;
    lab.run(["true"]).finish()?.succeeds()?;
    arrange(&["link", "delete", BRIDGE])?;
    arrange(&["address", "add", "172.30.5.1/16", "dev", "other"])?;
    let outcome = lab.run(["true"]).finish()?;
    outcome.refuses(&[125])?.mentions("172.30.0.")?;
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?;
    arrange(&["link", "delete", "other"])?;
    lab.run(["true"]).finish()?.succeeds().map(drop)
}

fn foreign(lab: &Lab) -> Result<()> {
    for kind in [&["type", "veth", "peer", "name", "other"][..], &["type", "bridge"]] {
        let words = [&["link", "add", BRIDGE, "address", "02:00:00:00:00:07"], kind].concat();
        arrange(&words)?;
        let before = seen(BRIDGE)?;
        let outcome = lab.run(["true"]).finish()?;
        outcome.refuses(&[125])?.mentions(BRIDGE)?;
        see::same(&outcome.line, "the interface to be as it was:", before, seen(BRIDGE)?)?;
        lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?;
        arrange(&["link", "delete", BRIDGE])?;
    }
    Ok(())
}

fn twenty(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?; // the image is there
    no_bridge("before")?;
    // All stay until the last one is there, so nobody's address is free again.
    let script = "ip -4 -o address show eth0 | sed 's/.*inet //; s/ .*//'; exec sleep 1000";
    let mut all: Vec<_> = (0..20).map(|_| lab.sh(script).start()).collect::<Result<_>>()?;
    let all_there = || Ok(all.iter().all(|one| !one.stdout().is_empty()).then_some(()));
    see::wait_for(SOON * 3, all_there)?; // twenty take longer than one
    for one in &mut all {
        one.wrote(NETWORK)?;
    }
    see::same("twenty runs at once", "cables:", 20, cables()?.len())?;
    let mut addresses = BTreeSet::new();
    for one in all {
        addresses.insert(one.kill_command()?.output());
    }
    see::same("twenty runs at once", "different addresses:", 20, addresses.len())
}

fn last_address(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the bridge is there
    only_cables("one run", &[])?;
    let lines: String = (2..=254)
        .filter(|number| *number != 77)
        .map(|number| format!("link add {BRIDGE}-{number} type veth peer name other-{number}\n"))
        .collect();
    let mut batch = Command::new("ip");
    let mut batch = batch.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("starting ip")?;
    std::io::Write::write_all(&mut batch.stdin.take().context("its stdin")?, lines.as_bytes())?;
    see::same("ip -batch", "to succeed:", true, batch.wait()?.success())?;

    let one = sleeper(lab)?;
    see::same(one.line(), "its address:", format!("{NETWORK}77"), end(&one)?.address)?;
    let outcome = lab.run(["true"]).finish()?;
    outcome.refuses(&[125])?.mentions("address")?;
    one.remove()?;
    see::wait_for(SOON, || Ok((cables()?.len() == 252).then_some(())))?;
    let two = sleeper(lab)?;
    see::same(two.line(), "its address:", format!("{NETWORK}77"), end(&two)?.address)
}
