//! Containers that leave a network: `network disconnect`.

use anyhow::Result;

use super::asker::Asker;
use super::connected::connect;
use super::dns::{NXDOMAIN, PTR, reversed};
use super::joined::plugged;
use super::names::named;
use super::networks::make;
use super::ports::answers;
use super::{end_at, end_in, interfaces, leads_by, only_ends, only_interfaces, server, start, stop};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-disconnect",
        Network,
        "network disconnect takes the interface away at once, with its address and its names; all else stays.",
        disconnects,
    ),
    Check::new(
        "net-disconnect-route",
        Network,
        "If the way out led by the network that a container leaves, it's by another one that leads out from then on.",
        route,
    ),
    Check::new(
        "net-disconnect-last",
        Network,
        "Disconnected from its last network a container has lo only, also after start, and it can be connected again.",
        last,
    ),
    Check::new(
        "net-disconnect-bad",
        Network,
        "network disconnect of what isn't connected, of what isn't there, and from below published ports is refused with 1.",
        bad,
    ),
];

/// Disconnects a container: network, container. There's nothing to be said.
pub(super) fn disconnect(lab: &Lab, words: &[&str]) -> Result<()> {
    lab.says("network", [&["disconnect"], words].concat(), "")
}

fn disconnects(lab: &Lab) -> Result<()> {
    for network in ["one", "two", "three"] {
        make(lab, &[], network)?;
    }
    let here = named(lab, "here", &["--network", "one"])?;
    let there = named(lab, "there", &["--network", "two"])?;
    let words = ["--network", "one", "--network", "name=two,alias=db", "--network", "three"];
    let ann = named(lab, "ann", &words)?;
    let before = [end_at(&ann, "eth0", "172.30.1.", 24)?, end_at(&ann, "eth2", "172.30.3.", 24)?];
    let gone = plugged(&ann, "eth1", "byhand2", "172.30.2.")?.address;
    let [asks, asks_here, asks_there] = [Asker::of(&ann)?, Asker::of(&here)?, Asker::of(&there)?];
    asks_there.finds("ann", &[&gone])?;

    disconnect(lab, &["two", "ann"])?;
    let did = format!("{}; then: network disconnect two ann", ann.line());
    only_ends(&did, &ann, &["eth0", "eth2"])?;
    let now = [end_at(&ann, "eth0", "172.30.1.", 24)?, end_at(&ann, "eth2", "172.30.3.", 24)?];
    see::same(&did, "its other ends to be as before:", &before, &now)?;
    leads_by(&did, &ann, &["172.30.1.1"])?;
    for name in ["ann", "db", ann.id()] {
        asks_there.finds(name, &[])?;
    }
    asks_there.hears(&reversed(&gone), PTR, NXDOMAIN, &[])?;
    asks_here.finds("ann", &[&before[0].address])?;
    asks.finds("here", &[&end_in(&here, "172.30.1.", 24)?.address])?;
    asks.finds("there", &[])?;

    let bob = named(lab, "bob", &["--network", "two", "--ip", &gone])?; // the address is free
    connect(lab, &["two", ann.id()])?;
    let again = plugged(&ann, "eth1", "byhand2", "172.30.2.")?.address; // the lowest number is free
    asks_there.finds("ann", &[&again])?;
    asks_there.finds("bob", &[&gone])?;
    asks_there.finds("db", &[])?; // that was then
    bob.remove()
}

fn route(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--internal"], "inner")?;
    make(lab, &[], "three")?;
    make(lab, &["--subnet", "10.9.8.0/24", "--gateway", "10.9.8.99"], "four")?;
    let words = ["--network", "one", "--network", "inner", "--network", "three"];
    let ann = named(lab, "ann", &words)?;
    connect(lab, &["four", "ann"])?;
    leads_by(ann.line(), &ann, &["172.30.1.1"])?;
    let without = |network, ways: &[&str]| {
        disconnect(lab, &[network, "ann"])?;
        leads_by(&format!("{}; then: network disconnect {network} ann", ann.line()), &ann, ways)
    };
    without("one", &["172.30.3.1"])?;
    without("three", &["10.9.8.99"])?;
    connect(lab, &["one", "ann"])?;
    without("one", &["10.9.8.99"])?;
    without("four", &[])
}

fn last(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    let there = named(lab, "there", &["--network", "one"])?;
    let ann = named(lab, "ann", &[])?;
    disconnect(lab, &["bridge", "ann"])?;
    let alone = |did: &str| -> Result<()> {
        only_ends(did, &ann, &[])?;
        leads_by(did, &ann, &[])?;
        lab.call("exec", [ann.id(), "ping", "-c", "1", "-w", "10", "127.0.0.1"]).finish()?.exits(0).map(drop)
    };
    alone("network disconnect bridge ann")?;
    stop(lab, &ann)?;
    start(lab, &ann)?;
    alone("network disconnect bridge ann, stop and start")?;
    connect(lab, &["--alias", "db", "one", "ann"])?;
    let address = plugged(&ann, "eth0", "byhand1", "172.30.1.")?.address;
    let did = "network disconnect bridge ann, and network connect one ann";
    leads_by(did, &ann, &["172.30.1.1"])?;
    Asker::of(&there)?.finds("db", &[&address])?;
    Asker::of(&ann)?.finds("there", &[&end_in(&there, "172.30.1.", 24)?.address])?;
    stop(lab, &ann)?;
    start(lab, &ann)?;
    plugged(&ann, "eth0", "byhand1", "172.30.1.")?;
    only_ends(did, &ann, &["eth0"])
}

fn bad(lab: &Lab) -> Result<()> {
    make(lab, &["--internal"], "inner")?;
    for network in ["two", "three", "four"] {
        make(lab, &[], network)?;
    }
    let words =
        ["--name", "ann", "--network", "inner", "--network", "two", "--network", "three", "-p", "8080:80"];
    let ann = server(lab, &words, "hello")?;
    let none = named(lab, "alone", &["--network", "none"])?;
    answers(&ann, "127.0.0.1:8080", "hello\n")?; // it serves
    let before = interfaces(None)?;
    let refused = [
        (["four", "ann"], "is not connected to network four"),
        (["nonet", "ann"], "No such network: nonet"),
        (["two", "nobody"], "No such container: nobody"),
        (["two", none.id()], ""),
    ];
    for (words, why) in refused {
        lab.refuses("network", [&["disconnect"], &words[..]].concat(), why)?;
    }
    let outcome = lab.call("network", ["disconnect", "two", "ann"]).finish()?;
    let error = outcome.refuses(&[1])?.error();
    if !error.contains("publish") && !error.contains("8080") {
        return Err(outcome.differs("a word of the published port on stderr"));
    }
    let did = "network disconnect that is refused";
    only_ends(did, &ann, &["eth0", "eth1", "eth2"])?;
    only_interfaces(did, &before)?;
    for network in ["inner", "three"] {
        disconnect(lab, &[network, "ann"])?; // the port doesn't lead there
    }
    answers(&ann, "127.0.0.1:8080", "hello\n")?;
    lab.refuses("network", ["disconnect", "three", "ann"], "is not connected to network three")?;
    stop(lab, &ann)?;
    lab.refuses("network", ["disconnect", "three", "ann"], "is not connected to network three")?;
    disconnect(lab, &["two", "ann"]) // nothing leads there now
}
