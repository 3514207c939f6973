//! Networks that a user makes: `network create`, `ls` and `inspect`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::names::named;
use super::{End, addresses, arrange, end_in, interfaces, ip, is_up, no_bridge, seen};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-create",
        Network,
        "network create says the name and makes a bridge, which is up and has addresses of its own: byhandK and 172.30.K.1/24.",
        create,
    ),
    Check::new(
        "net-create-bad",
        Network,
        "What is no name for a network, and no subnet, is refused with 125, and nothing stays.",
        bad,
    ),
    Check::new(
        "net-name-taken",
        Network,
        "A name that a network has already is refused with 1, and that network stays as it is.",
        name_taken,
    ),
    Check::new(
        "net-subnet",
        Network,
        "A network has the subnet and the gateway that it's given, with 256 or 65536 addresses.",
        subnet,
    ),
    Check::new(
        "net-overlaps",
        Network,
        "Addresses that another network has, or that the host has a way to, are refused with 1; a way to very many does no harm.",
        overlaps,
    ),
    Check::new(
        "net-ls",
        Network,
        "network ls has a row for each network: its name, its bridge, its subnet, where it leads, how many containers are on it.",
        ls,
    ),
    Check::new(
        "net-inspect",
        Network,
        "network inspect tells a network's addresses and who is on it; of several names it tells those that are there.",
        inspect,
    ),
    Check::new(
        "net-race-create",
        Network,
        "Of several that make a network of one name at once, one does; networks of ten names have ten bridges and ten subnets.",
        race,
    ),
];

/// Makes a network. It has to say its name, and nothing else.
pub(crate) fn make(lab: &Lab, options: &[&str], name: &str) -> Result<()> {
    lab.says("network", [&["create"], options, &[name]].concat(), &format!("{name}\n"))
}

/// Fails unless these networks are there, and no others, in whatever order.
pub(crate) fn only_networks(lab: &Lab, expected: &[&str]) -> Result<()> {
    let outcome = lab.call("network", ["ls", "-q"]).finish()?;
    let output = outcome.succeeds()?.output();
    let (names, expected): (BTreeSet<_>, BTreeSet<_>) =
        (output.lines().collect(), expected.iter().copied().collect());
    see::same(&outcome.line, "the networks:", expected, names)
}

/// The rows of `network ls`, in the order of their bridges, with one space between two columns.
pub(crate) fn rows(lab: &Lab) -> Result<Vec<String>> {
    let outcome = lab.call("network", ["ls"]).finish()?;
    let output = outcome.succeeds()?.output();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rows: Vec<_> = output.lines().map(words).collect();
    if rows.first().is_none_or(|first| first != "NETWORK BRIDGE SUBNET LEADS CONTAINERS") {
        return Err(outcome.differs("NETWORK, BRIDGE, SUBNET, LEADS and CONTAINERS above the columns"));
    }
    rows.remove(0);
    rows.sort_by_key(|row| row.split(' ').nth(1).map(str::to_string));
    Ok(rows)
}

/// Fails unless there's this bridge, it's up, and this is its address.
fn is_bridge(name: &str, address: &str) -> Result<()> {
    let bridge = seen(name)?;
    let did = format!("network create, and then: ip -d address show dev {name}");
    see::same(&did, "its kind:", Some("bridge"), bridge["linkinfo"]["info_kind"].as_str())?;
    see::same(&did, "to be up:", true, is_up(&bridge))?;
    see::same(&did, "its addresses:", vec![address.to_string()], addresses(&bridge))
}

fn create(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    is_bridge("byhand1", "172.30.1.1/24")?;
    make(lab, &["--internal"], "two.2")?;
    is_bridge("byhand2", "172.30.2.1/24")?;
    no_bridge("network create")?; // nobody has asked for that one
    lab.says("network", ["rm", "one"], "one\n")?;
    make(lab, &[], "ONE")?; // the number is free again
    is_bridge("byhand1", "172.30.1.1/24")?;
    only_networks(lab, &["ONE", "two.2"])
}

fn bad(lab: &Lab) -> Result<()> {
    for name in ["bridge", "host", "none", "default", "", "a b", "../x", "a/b", "-x", "a\nb"] {
        lab.call("network", ["create", "--", name]).finish()?.refuses(&[125])?;
    }
    let subnets = [
        "",
        "10.9.8.0",
        "10.9.8.0/",
        "10.9.8.1/24",
        "10.9.8.0/16",
        "10.9.8.0/25",
        "10.9.0.0/15",
        "10.9.8.0/33",
        "x/24",
        "127.0.0.0/24",
        "224.0.0.0/16",
        "fd00::/24",
    ];
    for subnet in subnets {
        lab.call("network", ["create", "--subnet", subnet, "one"]).finish()?.refuses(&[125])?;
    }
    let gateway = ["create", "--subnet", "10.9.8.0/24", "--gateway", "x", "one"];
    lab.call("network", gateway).finish()?.refuses(&[125])?;
    lab.call("network", ["create"]).finish()?.refuses(&[125])?;
    only_networks(lab, &[])?;
    let left = interfaces(None)?.into_iter().find(|name| name.starts_with("byhand"));
    see::same("network create with bad words", "an interface that stays:", None, left)
}

fn name_taken(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    let before = rows(lab)?;
    for options in [&[][..], &["--internal"], &["--subnet", "10.9.8.0/24"]] {
        lab.refuses("network", [&["create"], options, &["one"]].concat(), "one")?;
    }
    see::same("network create, with a name that is there", "network ls:", before, rows(lab)?)
}

fn subnet(lab: &Lab) -> Result<()> {
    make(lab, &["--subnet", "10.9.8.0/24"], "one")?;
    is_bridge("byhand1", "10.9.8.1/24")?;
    make(lab, &["--subnet=10.10.0.0/16", "--gateway=10.10.7.7"], "two")?;
    is_bridge("byhand2", "10.10.7.7/16")?;
    let two = named(lab, "cat", &["--network", "two"])?;
    let End { address, mac } = end_in(&two, "10.10.", 16)?;
    let numbers = address.split('.').map(str::parse).collect::<Result<Vec<u8>, _>>()?;
    let hex: Vec<_> = numbers.iter().map(|number| format!("{number:02x}")).collect();
    see::same(two.line(), "the hardware address:", format!("02:42:{}", hex.join(":")), mac)?;
    let routes = ip(Some(two.process()?), &["route", "show", "default"])?;
    let ways: Vec<_> = routes.iter().filter_map(|route| route["gateway"].as_str()).collect();
    see::same(two.line(), "the default routes:", vec!["10.10.7.7"], ways)?;
    for gateway in ["10.12.0.1", "10.11.0.0", "10.11.0.255", "10.11.1.1"] {
        let words = ["create", "--subnet", "10.11.0.0/24", "--gateway", gateway, "three"];
        lab.refuses("network", words, gateway)?;
    }
    only_networks(lab, &["one", "two"])
}

fn overlaps(lab: &Lab) -> Result<()> {
    arrange(&["link", "add", "other", "address", "02:00:00:00:00:08", "type", "bridge"])?;
    arrange(&["link", "set", "other", "up"])?;
    for address in ["172.30.5.99/24", "10.8.5.99/24", "10.7.6.129/25", "172.16.0.1/12"] {
        arrange(&["address", "add", address, "dev", "other"])?;
    }
    make(lab, &["--subnet", "10.9.8.0/24"], "small")?;
    make(lab, &["--subnet", "10.10.0.0/16"], "large")?;
    let with = |subnet: &'static str| ["create", "--subnet", subnet, "one"];
    for subnet in ["10.9.8.0/24", "10.9.0.0/16", "10.10.0.0/16", "10.10.77.0/24"] {
        lab.refuses("network", with(subnet), subnet)?; // another network's
    }
    for subnet in ["10.8.5.0/24", "10.8.0.0/16", "10.7.6.0/24", "10.7.0.0/16", "172.30.5.0/24"] {
        lab.refuses("network", with(subnet), subnet)?; // the host's, or some of them are
    }
    only_networks(lab, &["small", "large"])?;
    make(lab, &["--subnet", "10.8.6.0/24"], "beside")?;
    make(lab, &["--subnet", "172.20.5.0/24"], "within")?; // as a VPN's, which is for more than a million
    make(lab, &[], "free")?;
    let free = rows(lab)?.into_iter().find(|row| row.starts_with("free ")).unwrap_or_default();
    let took = free.split(' ').nth(2) == Some("172.30.5.0/24"); // byhand5's, by its number
    see::same("network create free", "to have the host's addresses:", false, took)
}

fn ls(lab: &Lab) -> Result<()> {
    see::same("network ls, before anything", "rows:", Vec::<String>::new(), rows(lab)?)?;
    only_networks(lab, &[])?;
    make(lab, &[], "one")?;
    make(lab, &["--internal", "--subnet", "10.10.0.0/16"], "two")?;
    let _all = [
        named(lab, "ann", &["--network", "one"])?,
        named(lab, "bob", &["--network", "one"])?,
        named(lab, "cat", &[])?,
        named(lab, "dan", &["--network", "none"])?,
    ];
    let expected = [
        "bridge byhand0 172.30.0.0/24 out 1",
        "one byhand1 172.30.1.0/24 out 2",
        "two byhand2 10.10.0.0/16 nowhere 0",
    ];
    see::same("network ls", "rows:", expected.map(str::to_string).to_vec(), rows(lab)?)?;
    only_networks(lab, &["bridge", "one", "two"])
}

fn inspect(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--internal", "--subnet", "10.10.0.0/16", "--gateway", "10.10.7.7"], "two")?;
    let one = named(lab, "ann", &["--network", "one"])?;
    let End { address, mac } = end_in(&one, "172.30.1.", 24)?;
    let outcome = lab.call("network", ["inspect", "one", "nonet", "two"]).finish()?;
    outcome.exits(1)?.mentions("No such network: nonet")?;
    let all: Value = serde_json::from_slice(&outcome.stdout)
        .map_err(|error| outcome.differs(format!("a JSON array ({error})")))?;
    let told = |of: &Value| {
        json!([
            of["Name"],
            of["Internal"],
            of["IPAM"]["Config"][0]["Subnet"],
            of["IPAM"]["Config"][0]["Gateway"]
        ])
    };
    let both: Vec<_> = all.as_array().context("an array")?.iter().map(told).collect();
    let expected = vec![
        json!(["one", false, "172.30.1.0/24", "172.30.1.1"]),
        json!(["two", true, "10.10.0.0/16", "10.10.7.7"]),
    ];
    see::same(&outcome.line, "Name, Internal, Subnet and Gateway of each:", expected, both)?;
    let who = json!({one.id(): {"Name": "ann", "IPv4Address": format!("{address}/24"), "MacAddress": mac}});
    see::same(&outcome.line, "Containers:", &who, &all[0]["Containers"])?;
    see::same(&outcome.line, "Containers:", &json!({}), &all[1]["Containers"])
}

fn race(lab: &Lab) -> Result<()> {
    for _ in 0..3 {
        let runs =
            (0..6).map(|_| lab.call("network", ["create", "one"]).start()).collect::<Result<Vec<_>>>()?;
        let outcomes = runs.into_iter().map(|run| run.finish()).collect::<Result<Vec<_>>>()?;
        let (made, refused): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.status.success());
        see::same("network create one, six times at once", "made:", 1, made.len())?;
        refused.iter().try_for_each(|outcome| outcome.refuses(&[1])?.mentions("one").map(drop))?;
        let bridges: Vec<_> =
            rows(lab)?.iter().filter_map(|row| Some(row.split(' ').nth(1)?.to_string())).collect();
        see::same("network ls", "bridges:", vec!["byhand1".to_string()], bridges)?;
        lab.says("network", ["rm", "one"], "one\n")?;
    }
    let runs = (0..10).map(|number| lab.call("network", ["create", &format!("n{number}")]).start());
    for run in runs.collect::<Result<Vec<_>>>()? {
        run.finish()?.succeeds()?;
    }
    let rows = rows(lab)?;
    for column in 0..3 {
        let different: BTreeSet<_> = rows.iter().map(|row| row.split(' ').nth(column)).collect();
        see::same(
            "ten of network create at once",
            "different names, bridges and subnets:",
            10,
            different.len(),
        )?;
    }
    Ok(())
}
