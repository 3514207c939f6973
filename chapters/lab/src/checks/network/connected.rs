//! Containers that get on a network later: `network connect`.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::apart::must_reach;
use super::asker::Asker;
use super::disconnected::disconnect;
use super::dns::{NOERROR, PTR, reversed};
use super::joined::plugged;
use super::names::{address, named};
use super::networks::make;
use super::{
    asked, end, end_in, interfaces, leads_by, only_ends, only_interfaces, server, sleeper, start, stop,
};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-connect",
        Network,
        "network connect gives a container that runs one more interface at once, and a way out if it has none.",
        connects,
    ),
    Check::new(
        "net-connect-names",
        Network,
        "Whoever has been connected finds the others there and is found by name, id and --alias, at once.",
        names,
    ),
    Check::new(
        "net-connect-start",
        Network,
        "What is connected stays so over stop, start and restart, and what is disconnected, too; both without running as well.",
        starts,
    ),
    Check::new(
        "net-connect-bad",
        Network,
        "network connect of what is connected, of what is not there and with a bad --ip is refused with 1, and all is as before.",
        bad,
    ),
];

/// Connects a container: options, network, container. There's nothing to be said.
pub(super) fn connect(lab: &Lab, words: &[&str]) -> Result<()> {
    lab.says("network", [&["connect"], words].concat(), "")
}

/// What one has done by then, for a message.
pub(super) fn did(words: &str, one: &Kept<'_>) -> String {
    format!("{}; then: network {words}", one.line())
}

fn connects(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--subnet", "10.9.8.0/24"], "two")?;
    make(lab, &["--internal"], "inner")?;
    let there = server(lab, &["--network", "one"], "there")?;
    let ann = server(lab, &["--name", "ann"], "ann")?;
    let (before, web) = (end(&ann)?, format!("{}:80", end_in(&there, "172.30.1.", 24)?.address));
    asked(&web)?; // it serves
    asked(&format!("{}:80", before.address))?;
    connect(lab, &["one", "ann"])?;
    let found = plugged(&ann, "eth1", "byhand1", "172.30.1.")?;
    must_reach(&ann, &web, true)?;
    must_reach(&there, &format!("{}:80", found.address), true)?;
    connect(lab, &["--ip", "10.9.8.77", "two", ann.id()])?;
    let found = plugged(&ann, "eth2", "byhand2", "10.9.8.")?;
    see::same(ann.line(), "its address on the third network:", "10.9.8.77", &found.address)?;
    let now = did("connect one ann", &ann);
    only_ends(&now, &ann, &["eth0", "eth1", "eth2"])?;
    see::same(&now, "eth0 to be as before:", before, end(&ann)?)?;
    leads_by(&now, &ann, &["172.30.0.1"])?;

    let bob = named(lab, "bob", &["--network", "inner"])?;
    make(lab, &["--internal"], "within")?;
    connect(lab, &["within", "bob"])?;
    leads_by(&did("connect within bob", &bob), &bob, &[])?;
    connect(lab, &["one", "bob"])?;
    leads_by(&did("connect one bob", &bob), &bob, &["172.30.1.1"])?;
    connect(lab, &["two", "bob"])?;
    leads_by(&did("connect two bob", &bob), &bob, &["172.30.1.1"])
}

fn names(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    let here = named(lab, "here", &[])?;
    let there = named(lab, "there", &["--network", "one"])?;
    let (of_here, of_there) = (address(&here)?, end_in(&there, "172.30.1.", 24)?.address);
    let ann = named(lab, "ann", &["--network-alias", "web"])?;
    let first = address(&ann)?;
    let [asks, asks_here, asks_there] = [Asker::of(&ann)?, Asker::of(&here)?, Asker::of(&there)?];
    asks.finds("there", &[])?;
    asks_there.finds("ann", &[])?;
    connect(lab, &["--alias", "db", "--alias=data", "one", "ann"])?;
    let second = plugged(&ann, "eth1", "byhand1", "172.30.1.")?.address;
    for name in ["ann", ann.id(), "db", "DATA"] {
        asks_there.finds(name, &[&second])?;
    }
    asks_there.finds("web", &[])?;
    asks_there.hears(&reversed(&second), PTR, NOERROR, &["ann"])?;
    for name in ["ann", "web"] {
        asks_here.finds(name, &[&first])?;
    }
    asks_here.finds("db", &[])?;
    asks.finds("here", &[&of_here])?;
    asks.finds("there", &[&of_there])?;
    asks.hears(&reversed(&of_there), PTR, NOERROR, &["there"])?;

    let nameless = sleeper(lab)?;
    connect(lab, &["one", nameless.id()])?;
    asks_there.finds(nameless.id(), &[&plugged(&nameless, "eth1", "byhand1", "172.30.1.")?.address])?;
    lab.call("rename", ["ann", "uno"]).finish()?.succeeds()?;
    for (asker, address) in [(&asks_here, &first), (&asks_there, &second)] {
        asker.finds("uno", &[address])?;
        asker.finds("ann", &[])?;
    }
    drop(asks); // a socket keeps the network that it's in
    ann.remove()?;
    ["uno", "db"].iter().try_for_each(|name| asks_there.soon_finds(name, &[]))
}

fn starts(lab: &Lab) -> Result<()> {
    for network in ["one", "two", "three"] {
        make(lab, &[], network)?;
    }
    let there = named(lab, "there", &["--network", "one"])?;
    let ann = named(lab, "ann", &[])?;
    connect(lab, &["--ip", "172.30.1.77", "--alias", "db", "one", "ann"])?;
    connect(lab, &["three", "ann"])?;
    disconnect(lab, &["three", "ann"])?;
    stop(lab, &ann)?;
    connect(lab, &["two", "ann"])?;
    start(lab, &ann)?;
    only_ends(
        &did("connect …, stop, network connect two ann, start", &ann),
        &ann,
        &["eth0", "eth1", "eth2"],
    )?;
    let found = plugged(&ann, "eth1", "byhand1", "172.30.1.")?.address;
    see::same(ann.line(), "the address that was chosen, after start:", "172.30.1.77", &found)?;
    Asker::of(&there)?.finds("db", &[&found])?;
    plugged(&ann, "eth2", "byhand2", "172.30.2.")?;
    stop(lab, &ann)?;
    disconnect(lab, &["one", "ann"])?;
    start(lab, &ann)?;
    only_ends(&did("disconnect one ann, and start", &ann), &ann, &["eth0", "eth1"])?;
    end(&ann)?;
    plugged(&ann, "eth1", "byhand2", "172.30.2.")?;

    let bob = named(lab, "bob", &["--restart", "always"])?;
    connect(lab, &["one", "bob"])?;
    let first = bob.process()?;
    first.signal(Signal::SIGKILL);
    let second = || Ok(bob.process().ok().filter(|second| *second != first));
    wait_for(SOON, second)?.context("the container does not restart")?;
    let again = wait_for(SOON, || Ok(plugged(&bob, "eth1", "byhand1", "172.30.1.").ok()))?; // it's just beginning
    again.map_or_else(|| plugged(&bob, "eth1", "byhand1", "172.30.1.").map(drop), |_| Ok(()))
}

fn bad(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &[], "two")?;
    let ann = named(lab, "ann", &[])?;
    connect(lab, &["one", "ann"])?;
    let before = interfaces(None)?;
    let taken = end(&ann)?.address;
    let refused = [
        (&["one", "ann"][..], "already exists in network one"),
        (&["bridge", "ann"], "already exists in network bridge"),
        (&["nonet", "ann"], "No such network: nonet"),
        (&["two", "nobody"], "No such container: nobody"),
        (&["--ip", "172.30.0.9", "two", "ann"], "172.30.0.9"),
        (&["--ip", "172.30.2.0", "two", "ann"], "172.30.2.0"),
        (&["--ip", "172.30.2.1", "two", "ann"], "172.30.2.1"),
        (&["--ip", "172.30.2.255", "two", "ann"], "172.30.2.255"),
    ];
    for (words, why) in refused {
        lab.refuses("network", [&["connect"], words].concat(), why)?;
    }
    let apart = ["none", "host"].map(|network| named(lab, network, &["--network", network]));
    for (one, network) in apart.into_iter().zip(["none", "host"]) {
        lab.refuses("network", ["connect", "one", one?.id()], network)?;
        lab.call("network", ["connect", network, "ann"]).finish()?.refuses(&[1, 125])?;
    }
    for words in [["--ip", "x"], ["--ip", "fd00::1"], ["--alias", "a b"], ["--alias", ""]] {
        lab.call("network", [&["connect"], &words[..], &["two", "ann"]].concat())
            .finish()?
            .refuses(&[1, 125])?;
    }
    let bob = named(lab, "bob", &["--network", "two"])?;
    lab.refuses("network", ["connect", "--ip", &taken, "bridge", "bob"], "Address already in use")?;
    only_ends("network connect of a taken address", &bob, &["eth0"])?;
    bob.remove()?;
    only_ends("network connect with bad words", &ann, &["eth0", "eth1"])?;
    only_interfaces("network connect with bad words", &before)?;
    stop(lab, &ann)?;
    lab.refuses("network", ["connect", "one", "ann"], "already exists in network one")
}
