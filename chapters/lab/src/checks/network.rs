//! Chapter 9: a network. All of it is in the network namespace that each check has for itself.

mod bridge;
mod cable;
mod ports;
mod publishing;
mod dns;
pub(crate) mod asker;
pub(crate) mod names;
mod udp;
mod upstream;
mod forwarded;
mod hostile;
mod files;
pub(crate) mod networks;
mod taken_away;
mod joined;
mod apart;
mod several;
mod fixed;
mod exposed;
mod connected;
mod disconnected;
mod racing;
mod shared;
mod ipv6;
pub(crate) mod world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::machine::tool;
use crate::see::{self, SOON, differs, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[&[Check]] = &[
    cable::CHECKS,
    bridge::CHECKS,
    world::CHECKS,
    ports::CHECKS,
    publishing::CHECKS,
    udp::CHECKS,
    names::CHECKS,
    forwarded::CHECKS,
    hostile::CHECKS,
    files::CHECKS,
    networks::CHECKS,
    taken_away::CHECKS,
    joined::CHECKS,
    apart::CHECKS,
    several::CHECKS,
    fixed::CHECKS,
    exposed::CHECKS,
    connected::CHECKS,
    disconnected::CHECKS,
    racing::CHECKS,
    shared::CHECKS,
    ipv6::CHECKS,
];

/// The network's beginning: of an address, its first three numbers.
const NETWORK: &str = "172.30.0.";

/// The host's own address in it.
const GATEWAY: &str = "172.30.0.1";

/// The bridge on the host. A cable's name is this, a hyphen, and the last number of the address.
const BRIDGE: &str = "byhand0";

/// What there is to see of a container's end of its cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) address: String,
    pub(crate) mac: String,
}

/// A container that does nothing for a long time.
fn sleeper(lab: &Lab) -> Result<Kept<'_>> {
    lab.kept(["sleep", "1000"]).detach()
}

/// What ip(8) tells as JSON, here or in the network of a process.
pub(crate) fn ip(place: Option<Process>, words: &[&str]) -> Result<Vec<Value>> {
    let mut command = match place {
        None => Command::new("ip"),
        Some(process) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", process.file("ns/net").display())).arg("ip");
            command
        }
    };
    let printed = tool::run(command.arg("-j").args(words), "ip", "iproute2")?;
    if printed.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&printed).with_context(|| format!("{command:?}"))
}

/// Has ip(8) do something on the host.
pub(crate) fn arrange(words: &[&str]) -> Result<()> {
    ip(None, words).map(drop)
}

/// The names of all interfaces, here or in the network of a process.
pub(crate) fn interfaces(place: Option<Process>) -> Result<Vec<String>> {
    let name = |link: Value| link["ifname"].as_str().map(str::to_string);
    Ok(ip(place, &["link", "show"])?.into_iter().filter_map(name).collect())
}

/// Fails if there is a bridge of ours on the host.
fn no_bridge(did: &str) -> Result<()> {
    see::same(did, "the bridge to be there:", false, interfaces(None)?.iter().any(|name| name == BRIDGE))
}

/// The cables that there are on the host.
fn cables() -> Result<Vec<String>> {
    let mut all = interfaces(None)?;
    all.retain(|name| name.starts_with(&format!("{BRIDGE}-")));
    Ok(all)
}

/// Waits until there are no others.
pub(crate) fn only_cables(did: &str, expected: &[&str]) -> Result<()> {
    if wait_for(SOON, || Ok((cables()? == expected).then_some(())))?.is_some() {
        return Ok(());
    }
    Err(differs(did, format!("the cables {expected:?}, and no others"), format!("{:?}", cables()?)))
}

/// Waits until these are the host's interfaces, as they were.
fn only_interfaces(did: &str, expected: &[String]) -> Result<()> {
    let same = || Ok((interfaces(None)? == expected).then_some(()));
    match wait_for(SOON, same)? {
        Some(()) => Ok(()),
        None => see::same(did, "the host's interfaces:", expected, &interfaces(None)?),
    }
}

/// What is known of an interface on the host, as JSON.
pub(crate) fn seen(name: &str) -> Result<Value> {
    let found = ip(None, &["-d", "address", "show", "dev", name])?;
    found.into_iter().next().with_context(|| format!("there is no {name}"))
}

/// Its addresses of IPv4, each as `ADDRESS/LENGTH`.
fn addresses(interface: &Value) -> Vec<String> {
    let infos = interface["addr_info"].as_array().into_iter().flatten();
    let of_four = infos.filter(|info| info["family"] == "inet");
    of_four.map(|info| format!("{}/{}", info["local"].as_str().unwrap_or("?"), info["prefixlen"])).collect()
}

fn is_up(interface: &Value) -> bool {
    interface["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"))
}

/// The container's end of its cable. It has to have one, with one address of the default network.
fn end(one: &Kept<'_>) -> Result<End> {
    let found = end_in(one, NETWORK, 24)?;
    if number(&found.address).is_none() {
        return Err(one.differs(format!("an address that a container can have, {NETWORK}N"), found.address));
    }
    Ok(found)
}

/// The same in another network, which begins so, and whose addresses share so many bits.
pub(crate) fn end_in(one: &Kept<'_>, begins: &str, length: u8) -> Result<End> {
    end_at(one, "eth0", begins, length)
}

/// The same of another of its cables.
fn end_at(one: &Kept<'_>, interface: &str, begins: &str, length: u8) -> Result<End> {
    let there = interfaces(Some(one.process()?))?;
    if !there.iter().any(|name| name == interface) {
        return Err(one.differs(format!("{interface} in the container"), format!("{there:?}")));
    }
    let found = ip(Some(one.process()?), &["address", "show", "dev", interface])?;
    let link = found.into_iter().next().unwrap_or_default();
    let all = addresses(&link);
    let mac = link["address"].as_str().unwrap_or_default().to_string();
    let address = match &all[..] {
        [only] => only.strip_suffix(&format!("/{length}")).filter(|only| only.starts_with(begins)),
        _ => None,
    };
    let expected =
        || one.differs(format!("{interface} with one address, {begins}…/{length}"), format!("{all:?}"));
    Ok(End { address: address.ok_or_else(expected)?.to_string(), mac })
}

/// Fails unless these are the container's cables, by the names of their ends in there.
fn only_ends(did: &str, one: &Kept<'_>, expected: &[&str]) -> Result<()> {
    let mut all = interfaces(Some(one.process()?))?;
    all.retain(|name| name.starts_with("eth"));
    all.sort_unstable();
    see::same(
        did,
        "the container's interfaces:",
        expected,
        &all.iter().map(String::as_str).collect::<Vec<_>>()[..],
    )
}

/// Fails unless these are the gateways of the container's default routes.
fn leads_by(did: &str, one: &Kept<'_>, expected: &[&str]) -> Result<()> {
    let routes = ip(Some(one.process()?), &["route", "show", "default"])?;
    let ways: Vec<_> = routes.iter().filter_map(|route| route["gateway"].as_str()).collect();
    see::same(did, "the default routes:", expected, &ways[..])
}

fn stop(lab: &Lab, one: &Kept<'_>) -> Result<()> {
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))
}

fn start(lab: &Lab, one: &Kept<'_>) -> Result<()> {
    lab.says("start", [one.id()], &format!("{}\n", one.id()))
}

/// The last number of one of the network's addresses that a container can have.
fn number(address: &str) -> Option<u8> {
    address.strip_prefix(NETWORK)?.parse().ok().filter(|number| (2..=254).contains(number))
}

/// A container that serves its own greeting, and writes down who has asked.
fn server<'a>(lab: &'a Lab, options: &[&str], says: &str) -> Result<Kept<'a>> {
    let script = format!("mkdir /www; echo {says} > /www/index.html; exec httpd -f -v -p 80 -h /www");
    lab.kept(["sh", "-c", &script]).with(options).detach()
}

/// What a web server at this address, `ADDRESS:PORT`, answers. It may have to be waited for.
fn asked(address: &str) -> Result<String> {
    let answer = wait_for(SOON, || Ok(answer(address).ok().filter(|answer| !answer.is_empty())))?;
    answer.with_context(|| format!("nobody answers at {address}"))
}

/// The same, at once.
fn answer(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
