//! Addresses that a user has chosen: `--ip`, `--mac-address`, and the long form of `--network`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::asker::Asker;
use super::names::{address, named};
use super::networks::make;
use super::{asked, end, end_at, end_in, interfaces, only_cables, only_interfaces, server, start, stop};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-ip",
        Network,
        "--ip is the container's address on its first network, after start and after a restart, too; inspect tells it.",
        fixed,
    ),
    Check::new(
        "net-ip-taken",
        Network,
        "An address that a running container has is nobody else's, chosen or not; when it has ended, it can be had.",
        taken,
    ),
    Check::new(
        "net-ip-bad",
        Network,
        "--ip outside of the subnet, its first address, its last and the gateway's are refused, and nothing stays.",
        bad,
    ),
    Check::new(
        "net-mac",
        Network,
        "--mac-address is the hardware address of eth0, and inspect tells it; what nobody can have is refused with 125.",
        mac,
    ),
    Check::new(
        "net-long-form",
        Network,
        "--network name=NET,alias=NAME,ip=IP,mac-address=MAC says it all of one network; there may be several.",
        long_form,
    ),
];

fn inspected_address(one: &Kept<'_>) -> Result<Value> {
    Ok(one.inspected()?["NetworkSettings"]["IPAddress"].clone())
}

fn fixed(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--subnet", "10.10.0.0/16", "--gateway", "10.10.7.7"], "two")?;
    let all = [
        (&["--ip", "172.30.0.77"][..], 24, "172.30.0.77"),
        (&["--network", "one", "--ip=172.30.1.254"], 24, "172.30.1.254"),
        (&["--network", "two", "--ip", "10.10.0.1"], 16, "10.10.0.1"), // the gateway is another one
        (&["--ip", "10.10.255.0", "--network", "two", "--network", "one"], 16, "10.10.255.0"),
    ];
    for (options, length, expected) in all {
        let one = named(lab, "ann", options)?;
        let is_it = || -> Result<()> {
            see::same(one.line(), "its address:", expected, &end_in(&one, "", length)?.address)?;
            see::same(one.line(), "IPAddress in inspect:", json!(expected), inspected_address(&one)?)
        };
        is_it()?;
        stop(lab, &one)?;
        start(lab, &one)?; // at once: nobody waits for anything in between
        is_it()?;
        one.remove()?;
    }
    let script = "ip -4 -o address show eth0 | grep -c 172.30.0.77/; sleep 0.1; exit 1";
    let words = ["--restart", "on-failure:2", "--ip", "172.30.0.77"];
    let restarts = lab.kept(["sh", "-c", script]).with(words).detach()?;
    restarts.exits(1)?;
    restarts.logs()?.prints("1\n1\n1\n").map(drop)
}

fn containers(lab: &Lab) -> BTreeSet<PathBuf> {
    lab.containers().into_iter().collect()
}

/// Fails unless a run with these options is refused, and nothing of it stays.
fn is_refused(lab: &Lab, options: &[&str], why: &str) -> Result<()> {
    let before = containers(lab);
    let outcome = lab.run(["sleep", "1000"]).with(["-d"]).with(options).finish()?;
    outcome.refuses(&[1, 125])?.mentions(why)?;
    see::same(&outcome.line, "the containers that there are:", before, containers(lab))
}

fn taken(lab: &Lab) -> Result<()> {
    const IN_USE: &str = "Address already in use";
    let one = named(lab, "ann", &[])?;
    let first = address(&one)?;
    is_refused(lab, &["--ip", &first], IN_USE)?;
    see::same(one.line(), "its address after another run:", &first, &address(&one)?)?;
    stop(lab, &one)?;
    let two = named(lab, "bob", &["--ip", &first])?;
    see::same(two.line(), "its address:", &first, &address(&two)?)?;
    is_refused(lab, &["--ip", &first], IN_USE)?;
    // Who hasn't chosen it gets another one, even if it's the one from before.
    start(lab, &one)?;
    see::same(
        one.line(),
        "to get an address after start that somebody has:",
        false,
        address(&one)? == first,
    )?;

    stop(lab, &two)?;
    let three = named(lab, "cat", &["--ip", &first])?;
    lab.refuses("start", [two.id()], IN_USE)?;
    two.becomes("exited")?;
    three.remove()?;
    start(lab, &two)?;
    see::same(two.line(), "its address after start:", &first, &address(&two)?)?;

    let runs = (0..4).map(|_| lab.run(["sleep", "1000"]).with(["-d", "--ip", "172.30.0.88"]).start());
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let outcomes = runs.into_iter().map(|run| run.finish()).collect::<Result<Vec<_>>>()?;
    let (made, refused): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| outcome.status.success());
    let made = made.into_iter().map(|outcome| lab.detached(outcome)).collect::<Result<Vec<_>>>()?;
    see::same("four runs with one --ip at once", "containers that have it:", 1, made.len())?;
    refused.iter().try_for_each(|outcome| outcome.refuses(&[1, 125])?.mentions(IN_USE).map(drop))
}

fn bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the image is there, and the bridge
    only_cables("one run", &[])?;
    make(lab, &["--subnet", "10.10.0.0/16", "--gateway", "10.10.7.7"], "two")?;
    let before = interfaces(None)?;
    for ip in ["172.30.0.0", "172.30.0.255", "172.30.0.1", "172.30.1.5", "0.0.0.0", "127.0.0.1"] {
        is_refused(lab, &["--ip", ip], ip)?;
    }
    for ip in ["10.10.0.0", "10.10.255.255", "10.10.7.7", "10.11.0.1"] {
        is_refused(lab, &["--network", "two", "--ip", ip], ip)?;
    }
    let second = ["--network", "bridge", "--network", "name=two,ip=172.30.0.77"];
    is_refused(lab, &second, "172.30.0.77")?;
    for words in ["x", "", "172.30.0", "172.30.0.256", "172.30.0.77/24", "fd00::1"] {
        is_refused(lab, &["--ip", words], words)?;
    }
    for network in ["none", "host"] {
        is_refused(lab, &["--network", network, "--ip", "172.30.0.77"], "")?;
    }
    only_interfaces("runs with a bad --ip", &before)
}

fn mac(lab: &Lab) -> Result<()> {
    const CHOSEN: &str = "02:42:c0:ff:ee:01";
    make(lab, &[], "one")?;
    let words = ["--network", "bridge", "--network", "one", "--mac-address", "02:42:C0:FF:EE:01"];
    let one = server(lab, &words, "hello")?;
    for is_again in [false, true] {
        if is_again {
            stop(lab, &one)?;
            start(lab, &one)?;
        }
        let found = end(&one)?;
        see::same(one.line(), "the hardware address of eth0:", CHOSEN, &found.mac)?;
        let other = end_at(&one, "eth1", "172.30.1.", 24)?.mac;
        see::same(one.line(), "eth1 to have the same one:", false, other == CHOSEN)?;
        asked(&format!("{}:80", found.address))?; // it's reached there
        let known = one.inspected()?;
        let told = &known["NetworkSettings"];
        for told in [&told["MacAddress"], &told["Networks"]["bridge"]["MacAddress"]] {
            see::same(one.line(), "MacAddress in inspect:", &json!(CHOSEN), told)?;
        }
        let outcome = lab.call("network", ["inspect", "bridge"]).finish()?;
        let all: Value = serde_json::from_slice(&outcome.succeeds()?.stdout)?;
        let told = &all[0]["Containers"][one.id()]["MacAddress"];
        see::same(&outcome.line, "MacAddress of the container:", &json!(CHOSEN), told)?;
    }
    let bad = [
        "",
        "x",
        "01:00:5e:00:00:01",
        "03:42:ac:1e:00:05",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "02:42:ac:1e:00",
        "02:42:ac:1e:00:05:06",
        "02:42:ac:1e:00:0g",
        "02:42:ac:1e:00:105",
    ];
    for mac in bad {
        lab.run(["true"]).with(["--mac-address", mac]).finish()?.refuses(&[125])?.mentions(mac)?;
    }
    Ok(())
}

fn long_form(lab: &Lab) -> Result<()> {
    const CHOSEN: &str = "02:42:c0:ff:ee:02";
    make(lab, &[], "one")?;
    make(lab, &["--subnet", "10.9.8.0/24"], "two")?;
    let first = "name=one,alias=web,alias=www,ip=172.30.1.77".to_string();
    let second = format!("mac-address={CHOSEN},alias=db,name=two,ip=10.9.8.77");
    let one = named(lab, "ann", &["--network", &first, "--network", &second])?;
    let (here, there) =
        (named(lab, "here", &["--network", "name=one"])?, named(lab, "there", &["--network", "two"])?);
    for is_again in [false, true] {
        if is_again {
            stop(lab, &one)?;
            start(lab, &one)?;
        }
        let ends = [end_at(&one, "eth0", "172.30.1.", 24)?, end_at(&one, "eth1", "10.9.8.", 24)?];
        let addresses = ends.each_ref().map(|end| &*end.address);
        see::same(one.line(), "its addresses:", ["172.30.1.77", "10.9.8.77"], addresses)?;
        see::same(
            one.line(),
            "which one has the hardware address:",
            [false, true],
            ends.each_ref().map(|end| end.mac == CHOSEN),
        )?;
        let (here, there) = (Asker::of(&here)?, Asker::of(&there)?);
        for name in ["web", "www", "ann"] {
            here.finds(name, &["172.30.1.77"])?;
        }
        for name in ["db", "ann"] {
            there.finds(name, &["10.9.8.77"])?;
        }
        here.finds("db", &[])?;
        there.finds("web", &[])?;
        let known = one.inspected()?;
        let aliases =
            ["one", "two"].map(|name| known["NetworkSettings"]["Networks"][name]["Aliases"].clone());
        see::same(one.line(), "Aliases in inspect:", [json!(["web", "www"]), json!(["db"])], aliases)?;
    }
    Ok(())
}
