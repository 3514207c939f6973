//! Containers find each other by name.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::asker::{Asker, RESOLVER, inside, udp_to};
use super::dns::{A, AAAA, CAA, HTTPS, MX, NOERROR, NXDOMAIN, PRIVATE, PTR, TXT, question, reversed};
use super::{BRIDGE, GATEWAY, NETWORK, arrange, end, number, only_cables, server, sleeper};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, cannot_run, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new("name-resolves", Network, "Two containers reach each other by their names.", resolves),
    Check::new(
        "name-id-alias",
        Network,
        "A container is found by its id and by each --network-alias, too, in capitals or not.",
        id_alias,
    ),
    Check::new(
        "name-shared-alias",
        Network,
        "Of an alias that several containers have, the addresses of all that run are answered.",
        shared_alias,
    ),
    Check::new("name-own", Network, "A container finds itself by its name and its id.", own),
    Check::new(
        "name-gone",
        Network,
        "When a container ends, nobody finds its names any more: by rm -f, by stop, and after a kill -9 of the keeper.",
        gone,
    ),
    Check::new(
        "name-again",
        Network,
        "A container that is started again is found at the address that it has now, and so is one that restarts.",
        again,
    ),
    Check::new(
        "name-rename",
        Network,
        "rename of a container that runs changes its name for all at once.",
        rename,
    ),
    Check::new(
        "name-reverse",
        Network,
        "Of an address of the network there is the name of the container that has it, or its id; else there is none.",
        reverse,
    ),
    Check::new(
        "name-types",
        Network,
        "A name that has an address has nothing else: the answer to AAAA and others is that there is none.",
        types,
    ),
    Check::new(
        "name-inside-only",
        Network,
        "Nobody but the container itself can ask its resolver: not the host, and no other container.",
        inside_only,
    ),
    Check::new("name-twenty", Network, "Twenty containers that start at once all find each other.", twenty),
    Check::new(
        "name-options-bad",
        Network,
        "What is no address, no host and no alias is refused with 125, and so is an alias without a network.",
        options_bad,
    ),
];

/// A container that does nothing for a long time, and has this name.
pub(crate) fn named<'a>(lab: &'a Lab, name: &str, options: &[&str]) -> Result<Kept<'a>> {
    lab.kept(["sleep", "1000"]).with(["--name", name]).with(options).detach()
}

pub(super) fn address(one: &Kept<'_>) -> Result<String> {
    Ok(end(one)?.address)
}

/// Fails if busybox's own programs don't look up names, as those that are linked with a C library from before 2.34 don't where
/// that one's modules are missing.
pub(super) fn needs_names(lab: &Lab) -> Result<()> {
    let outcome = lab.sh("ping -c 1 -w 10 localhost 2>&1").finish()?;
    if outcome.output().contains("bad address 'localhost'") {
        return Err(cannot_run("this busybox does not even find localhost: it was linked with an old glibc"));
    }
    Ok(())
}

fn resolves(lab: &Lab) -> Result<()> {
    needs_names(lab)?;
    let (one, two) = (server(lab, &["--name", "one"], "one")?, server(lab, &["--name", "two"], "two")?);
    for (from, to, says) in [(&one, "two", "two\n"), (&two, "one", "one\n"), (&one, two.id(), "two\n")] {
        // Until the server listens.
        let script = format!(
            "for i in $(seq 100); do wget -q -O - http://{to}/ 2> /dev/null && break; sleep 0.1; done"
        );
        lab.says("exec", [from.id(), "timeout", "20", "sh", "-c", &script], says)?;
    }
    Ok(())
}

fn id_alias(lab: &Lab) -> Result<()> {
    let one = named(lab, "One.1", &["--network-alias", "web", "--network-alias=Second_web"])?;
    let address = address(&one)?;
    let two = sleeper(lab)?;
    for asker in [Asker::of(&two)?, Asker::of(&one)?] {
        let id = one.id();
        for name in ["One.1", "one.1", "ONE.1", id, &id.to_uppercase(), "web", "WEB", "second_web"] {
            asker.finds(name, &[&address])?;
        }
        asker.finds(&id[..11], &[])?; // the beginning is for commands
    }
    Ok(())
}

fn shared_alias(lab: &Lab) -> Result<()> {
    let one = named(lab, "one", &["--network-alias", "web"])?;
    let two = named(lab, "two", &["--network-alias", "other", "--network-alias", "web"])?;
    let (first, second) = (address(&one)?, address(&two)?);
    let asker = Asker::of(&one)?;
    asker.finds("web", &[&first, &second])?;
    asker.finds("two", &[&second])?;
    two.remove()?;
    asker.soon_finds("web", &[&first])
}

fn own(lab: &Lab) -> Result<()> {
    let one = named(lab, "one", &[])?;
    let address = address(&one)?;
    let asker = Asker::of(&one)?;
    asker.finds("one", &[&address])?;
    asker.finds(one.id(), &[&address])
}

fn gone(lab: &Lab) -> Result<()> {
    let stays = sleeper(lab)?;
    let asker = Asker::of(&stays)?;
    let new = |name| -> Result<Kept<'_>> {
        let one = named(lab, name, &["--network-alias", "web"])?;
        asker.finds(name, &[&address(&one)?])?;
        Ok(one)
    };
    let nobody = |names: [&str; 2]| names.iter().try_for_each(|name| asker.soon_finds(name, &[]));

    new("removed")?.remove()?;
    nobody(["removed", "web"])?;

    let stopped = new("stopped")?;
    lab.says("stop", ["-t", "0", stopped.id()], &format!("{}\n", stopped.id()))?;
    nobody(["stopped", "web"])?;

    lab.runtime_was_killed();
    let left = new("left")?;
    left.keeper()?.signal(Signal::SIGKILL);
    nobody(["left", "web"])
}

fn again(lab: &Lab) -> Result<()> {
    let stays = sleeper(lab)?;
    let asker = Asker::of(&stays)?;
    let one = named(lab, "one", &["--network-alias", "web"])?;
    let before = address(&one)?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    only_cables("stop", &[&cable(&address(&stays)?)])?;
    // Somebody else has the address meanwhile.
    arrange(&["link", "add", &cable(&before), "type", "veth", "peer", "name", "other"])?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    let now = address(&one)?;
    see::same(one.line(), "another address after start:", true, now != before)?;
    for name in ["one", "web", one.id()] {
        asker.finds(name, &[&now])?;
    }
    Asker::of(&one)?.finds("one", &[&now])?;

    let restarts = named(lab, "restarts", &["--restart", "always"])?;
    let first = restarts.process()?;
    first.signal(Signal::SIGKILL);
    let second = || Ok(restarts.process().ok().filter(|second| *second != first));
    wait_for(SOON, second)?.context("the container does not restart")?;
    let now = wait_for(SOON, || Ok(address(&restarts).ok()))?.context("it has no address")?;
    asker.soon_finds("restarts", &[&now])?;
    Asker::of(&restarts)?.finds("one", &[&address(&one)?])
}

/// The host's end of this address's cable.
pub(super) fn cable(address: &str) -> String {
    format!("{BRIDGE}-{}", number(address).unwrap_or_default())
}

fn rename(lab: &Lab) -> Result<()> {
    let (one, two) = (named(lab, "one", &["--network-alias", "web"])?, sleeper(lab)?);
    let (first, second) = (address(&one)?, address(&two)?);
    let askers = [Asker::of(&one)?, Asker::of(&two)?];
    lab.call("rename", ["one", "uno"]).finish()?.succeeds()?;
    lab.call("rename", [two.id(), "one"]).finish()?.succeeds()?;
    for asker in askers {
        asker.finds("uno", &[&first])?;
        asker.finds("one", &[&second])?;
        asker.finds("web", &[&first])?;
        asker.hears(&reversed(&first), PTR, NOERROR, &["uno"])?;
    }
    Ok(())
}

fn reverse(lab: &Lab) -> Result<()> {
    let (one, two) = (named(lab, "one", &["--network-alias", "web"])?, sleeper(lab)?);
    let (first, second) = (address(&one)?, address(&two)?);
    for asker in [Asker::of(&one)?, Asker::of(&two)?] {
        asker.hears(&reversed(&first), PTR, NOERROR, &["one"])?;
        asker.hears(&reversed(&second), PTR, NOERROR, &[two.id()])?;
        let mut numbers = (2..5).map(|number| format!("{NETWORK}{number}"));
        let unused = numbers.find(|address| ![&first, &second].contains(&address));
        asker.hears(&reversed(&unused.unwrap_or_default()), PTR, NXDOMAIN, &[])?;
    }
    Ok(())
}

fn types(lab: &Lab) -> Result<()> {
    let one = named(lab, "one", &[])?;
    let asker = Asker::of(&one)?;
    for kind in [AAAA, TXT, MX, HTTPS, CAA, PRIVATE] {
        asker.hears("one", kind, NOERROR, &[])?;
        asker.hears(one.id(), kind, NOERROR, &[])?;
        asker.hears("nobody", kind, NXDOMAIN, &[])?;
    }
    Ok(())
}

fn inside_only(lab: &Lab) -> Result<()> {
    let (one, two) = (named(lab, "one", &[])?, named(lab, "two", &["--network", "none"])?);
    let (three, address) = (sleeper(lab)?, address(&one)?);
    Asker::of(&one)?.finds("one", &[&address])?;
    let (none, other) = (two.process()?, three.process()?);
    let there = |place: Option<Process>, address: &str| -> Result<()> {
        let ask = || Ok(answered(&format!("{address}:53")));
        let answered = place.map_or_else(ask, |place| inside(place, ask))?;
        let whence = if place.is_some() { "another container" } else { "the host" };
        answered.map_or(Ok(()), |how| Err(one.differs(format!("nobody at {address}:53 for {whence}"), how)))
    };
    for place in [None, Some(other)] {
        there(place, &address)?;
        there(place, GATEWAY)?;
    }
    there(None, RESOLVER.trim_end_matches(":53"))?;
    there(Some(none), RESOLVER.trim_end_matches(":53"))
}

/// How somebody answers at an address, if one does.
fn answered(address: &str) -> Option<String> {
    const ENOUGH: Duration = Duration::from_secs(1);
    let mut bytes = [0; 512];
    let socket = udp_to(address, ENOUGH).ok()?;
    if socket.send(&question(1, "one", A)).and_then(|_| socket.recv(&mut bytes)).is_ok() {
        return Some("an answer by UDP".to_string());
    }
    let stream = TcpStream::connect_timeout(&address.parse().ok()?, ENOUGH);
    stream.ok().map(|_| "a connection by TCP".to_string())
}

fn twenty(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the image is there
    let run =
        |number| lab.kept(["sleep", "1000"]).with(["-d", "--name", &format!("one-of-{number}")]).start();
    let runs = (0..20).map(run).collect::<Result<Vec<_>>>()?;
    let all = runs.into_iter().map(|run| lab.detached(run.finish()?)).collect::<Result<Vec<_>>>()?;
    let addresses = all.iter().map(address).collect::<Result<Vec<_>>>()?;
    let different = addresses.iter().collect::<BTreeSet<_>>().len();
    see::same("twenty runs at once", "different addresses:", 20, different)?;
    for one in &all {
        let asker = Asker::of(one)?;
        for (number, address) in addresses.iter().enumerate() {
            asker.finds(&format!("one-of-{number}"), &[address])?;
        }
    }
    Ok(())
}

fn options_bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the image is there
    let options = [
        &["--add-host", "x"][..],
        &["--add-host", "a:b"],
        &["--add-host", "a:"],
        &["--add-host", ":10.1.2.3"],
        &["--dns", "x"],
        &["--dns", ""],
        &["--dns", "127.0.0.1:53"],
        &["--network-alias", "a b"],
        &["--network-alias", ""],
        &["--network", "none", "--network-alias", "x"],
        &["--network-alias", "x", "--network", "host"],
    ];
    for words in options {
        lab.run(["true"]).with(words).finish()?.refuses(&[125])?;
    }
    see::same("runs with bad options", "what is left:", Vec::new(), lab.containers())?;
    only_cables("runs with bad options", &[])
}
