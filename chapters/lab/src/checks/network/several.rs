//! Containers that are on several networks from their start: `--network` more than once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::apart::must_reach;
use super::asker::Asker;
use super::dns::{NOERROR, PTR, reversed};
use super::joined::plugged;
use super::names::named;
use super::networks::make;
use super::ports::answers;
use super::world::{UPLINK, far_away};
use super::{
    End, asked, end, end_at, end_in, interfaces, ip, leads_by, only_cables, only_ends, only_interfaces,
    server, start, stop,
};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-several",
        Network,
        "--network given several times: eth0 on the first, eth1 on the second; the way out is by the first that leads out.",
        several,
    ),
    Check::new(
        "net-several-names",
        Network,
        "On several networks a container finds the others of each, and they find it; its --network-alias is of the first.",
        names,
    ),
    Check::new(
        "net-several-apart",
        Network,
        "Through a container that's on two networks there's no way from one to the other.",
        apart,
    ),
    Check::new(
        "net-several-ports",
        Network,
        "Published ports of a container on several networks lead to its address on the first that isn't internal.",
        ports,
    ),
    Check::new(
        "net-several-bad",
        Network,
        "none and host beside others, the same network twice, and what is no such option is refused with 125; nothing stays.",
        bad,
    ),
    Check::new(
        "net-several-inspect",
        Network,
        "inspect, network inspect, ls and rm know all networks that a container is on.",
        inspect,
    ),
];

fn several(lab: &Lab) -> Result<()> {
    make(lab, &["--internal"], "inner")?;
    make(lab, &["--subnet", "10.9.8.0/24"], "two")?;
    make(lab, &[], "three")?;
    let words = ["--network", "inner", "--network", "two", "--network=three", "--network", "bridge"];
    let is_right = |one: &Kept<'_>| -> Result<()> {
        only_ends(one.line(), one, &["eth0", "eth1", "eth2", "eth3"])?;
        plugged(one, "eth0", "byhand1", "172.30.1.")?;
        plugged(one, "eth1", "byhand2", "10.9.8.")?;
        plugged(one, "eth2", "byhand3", "172.30.3.")?;
        plugged(one, "eth3", "byhand0", "172.30.0.")?;
        leads_by(one.line(), one, &["10.9.8.1"])
    };
    let one = named(lab, "ann", &words)?;
    is_right(&one)?;
    stop(lab, &one)?;
    start(lab, &one)?;
    is_right(&one)?;
    let script = "ip -4 -o address show | grep -c 'eth[0-3]'; sleep 0.1; exit 1";
    let restarts = lab.kept(["sh", "-c", script]).with(["--restart", "on-failure:1"]).with(words).detach()?;
    restarts.exits(1)?;
    restarts.logs()?.prints("4\n4\n")?;

    make(lab, &["--internal"], "within")?;
    let two = named(lab, "bob", &["--network", "inner", "--network", "within"])?;
    only_ends(two.line(), &two, &["eth0", "eth1"])?;
    leads_by(two.line(), &two, &[])
}

fn names(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &[], "two")?;
    let both = named(lab, "both", &["--network", "one", "--network", "two", "--network-alias", "web"])?;
    let (here, there) =
        (named(lab, "here", &["--network", "one"])?, named(lab, "there", &["--network", "two"])?);
    let (of_here, of_there) =
        (end_in(&here, "172.30.1.", 24)?.address, end_in(&there, "172.30.2.", 24)?.address);
    let first = end_at(&both, "eth0", "172.30.1.", 24)?.address;
    let second = end_at(&both, "eth1", "172.30.2.", 24)?.address;
    let asker = Asker::of(&both)?;
    for (name, one, address) in [("here", &here, &of_here), ("there", &there, &of_there)] {
        asker.finds(name, &[address])?;
        asker.finds(one.id(), &[address])?;
        asker.hears(&reversed(address), PTR, NOERROR, &[name])?;
    }
    let (asks_here, asks_there) = (Asker::of(&here)?, Asker::of(&there)?);
    for (asker, address) in [(&asks_here, &first), (&asks_there, &second)] {
        asker.finds("both", &[address])?;
        asker.finds(both.id(), &[address])?;
        asker.hears(&reversed(address), PTR, NOERROR, &["both"])?;
    }
    asks_here.finds("web", &[&first])?;
    asks_there.finds("web", &[])?;
    asks_here.finds("there", &[])?;
    asks_there.finds("here", &[])?;
    lab.call("rename", ["both", "uno"]).finish()?.succeeds()?;
    for (asker, address) in [(&asks_here, &first), (&asks_there, &second)] {
        asker.finds("uno", &[address])?;
        asker.finds("both", &[])?;
    }
    Ok(())
}

/// A machine hands on what is for others if its `ip_forward` is 1, and a new network namespace has that from the host's.
fn apart(lab: &Lab) -> Result<()> {
    // Where this is 1, the host's rules are asked about what stays in a bridge, and hide what the container does.
    let rules_in_bridges = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if rules_in_bridges.exists() {
        fs::write(rules_in_bridges, "0").context("in the check's own network")?;
    }
    make(lab, &[], "one")?;
    make(lab, &[], "two")?;
    let both = named(lab, "both", &["--network", "one", "--network", "two"])?;
    let here = named(lab, "here", &["--network", "one"])?;
    let there = server(lab, &["--network", "two"], "hello")?;
    let by = |one: &Kept<'_>, subnet: &str, gateway: &str| {
        ip(Some(one.process()?), &["route", "add", subnet, "via", gateway]).map(drop)
    };
    by(&here, "172.30.2.0/24", &end_at(&both, "eth0", "172.30.1.", 24)?.address)?;
    by(&there, "172.30.1.0/24", &end_at(&both, "eth1", "172.30.2.", 24)?.address)?;
    let web = format!("{}:80", end_in(&there, "172.30.2.", 24)?.address);
    asked(&web)?; // it serves
    must_reach(&both, &web, true)?;
    must_reach(&here, &web, false)
}

fn ports(lab: &Lab) -> Result<()> {
    make(lab, &["--internal"], "inner")?;
    make(lab, &[], "two")?;
    make(lab, &[], "three")?;
    // At each of its addresses it says which one that is.
    let script = "for n in 0 1 2; do a=$(ip -4 -o address show eth$n | sed 's/.*inet //; s,/.*,,'); mkdir /$n; \
                  echo eth$n > /$n/index.html; httpd -p $a:80 -h /$n; done; sleep 1000";
    let words = ["--network", "inner", "--network", "two", "--network", "three", "-p", "8080:80"];
    let one = lab.kept(["sh", "-c", script]).with(words).detach()?;
    for address in ["127.0.0.1:8080", "172.30.2.1:8080"] {
        answers(&one, address, "eth1\n")?;
    }
    let ask = |ready: &dyn Fn()| {
        ready();
        asked(&format!("{UPLINK}:8080"))
    };
    let ((), answer) = far_away(ask, || Ok(()))?;
    if answer.ends_with("eth1\n") {
        Ok(())
    } else {
        Err(one.differs("\"eth1\\n\" for somebody outside", answer))
    }
}

fn bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the image is there, and the bridge
    only_cables("one run", &[])?;
    make(lab, &[], "one")?;
    let before = interfaces(None)?;
    let pairs = [
        ["none", "one"],
        ["one", "none"],
        ["host", "one"],
        ["one", "host"],
        ["none", "host"],
        ["one", "one"],
        ["one", "name=one"],
        ["bridge", "default"],
    ];
    for [first, second] in pairs {
        let run = lab.run(["true"]).with(["--network", first, "--network", second]).finish()?;
        run.refuses(&[125])?.mentions("--network")?;
    }
    let unknown = lab.run(["true"]).with(["--network", "one", "--network", "nonet"]).finish()?;
    unknown.refuses(&[125])?.mentions("No such network: nonet")?;
    let long_forms = [
        "name=",
        "alias=web",
        "name=one,colour=red",
        "name=one,alias=",
        "name=one,alias=a b",
        "name=one,ip=",
        "name=one,ip=x",
        "name=one,mac-address=x",
        "name=one,mac-address=01:00:5e:00:00:01",
    ];
    for long_form in long_forms {
        lab.run(["true"]).with(["--network", long_form]).finish()?.refuses(&[125])?.mentions("--network")?;
    }
    let did = "runs with bad words for --network";
    see::same(did, "containers that are left:", Vec::new(), lab.containers())?;
    only_interfaces(did, &before)
}

/// What NetworkSettings.Networks tells of each: address, length, gateway, hardware address, aliases.
fn told(one: &Kept<'_>) -> Result<BTreeMap<String, Value>> {
    let known = one.inspected()?;
    let all = known["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
    let keys = ["IPAddress", "IPPrefixLen", "Gateway", "MacAddress", "Aliases"];
    Ok(all.into_iter().map(|(name, of)| (name, json!(keys.map(|key| of[key].clone())))).collect())
}

fn inspect(lab: &Lab) -> Result<()> {
    make(lab, &["--subnet", "10.10.0.0/16", "--gateway", "10.10.7.7"], "one")?;
    make(lab, &[], "two")?;
    let words = ["--network", "one", "--network", "two", "--network", "bridge", "--network-alias", "web"];
    let one = named(lab, "ann", &words)?;
    let first = end_at(&one, "eth0", "10.10.", 16)?;
    let second = end_at(&one, "eth1", "172.30.2.", 24)?;
    let third = end_at(&one, "eth2", "172.30.0.", 24)?;
    let of = |end: &End, length: u8, gateway: &str, aliases: &[&str]| {
        json!([end.address, length, gateway, end.mac, aliases])
    };
    let expected = BTreeMap::from([
        ("one".to_string(), of(&first, 16, "10.10.7.7", &["web"])),
        ("two".to_string(), of(&second, 24, "172.30.2.1", &[])),
        ("bridge".to_string(), of(&third, 24, "172.30.0.1", &[])),
    ]);
    see::same(one.line(), "NetworkSettings.Networks in inspect:", expected, told(&one)?)?;
    let known = one.inspected()?;
    see::same(one.line(), "IPAddress", &json!(first.address), &known["NetworkSettings"]["IPAddress"])?;

    for (network, found, length) in [("one", &first, 16), ("two", &second, 24), ("bridge", &third, 24)] {
        let outcome = lab.call("network", ["inspect", network]).finish()?;
        let all: Value = serde_json::from_slice(&outcome.succeeds()?.stdout)
            .map_err(|error| outcome.differs(format!("a JSON array ({error})")))?;
        let address = format!("{}/{length}", found.address);
        let who = json!({one.id(): {"Name": "ann", "IPv4Address": address, "MacAddress": found.mac}});
        see::same(&outcome.line, "Containers:", &who, &all[0]["Containers"])?;
    }
    lab.refuses("network", ["rm", "two"], "two")?;
    let listed = lab.call("network", ["ls"]).finish()?;
    let on_it = |row: &str| row.split_whitespace().last() == Some("1");
    if listed.succeeds()?.output().lines().filter(|row| on_it(row)).count() != 3 {
        return Err(listed.differs("three networks with 1 container each"));
    }
    stop(lab, &one)?;
    lab.says("network", ["rm", "two"], "two\n")?; // whoever has ended is not on it
    end(&named(lab, "bob", &[])?).map(drop)
}
