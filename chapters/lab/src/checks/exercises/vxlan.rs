//! `network create --vxlan`: a network of two hosts, which are two network namespaces here, with a cable between them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use super::server::{Server, connected, datagrams};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::network::asker::within;
use crate::checks::network::networks::{make, only_networks, rows};
use crate::checks::network::world::nft;
use crate::checks::network::{arrange, end_in, interfaces, ip};
use crate::see::{self, cannot_run};
use crate::trial::kept::Kept;
use crate::trial::runtime::{Lab, Run};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "vxlan",
        Network,
        "With --vxlan ID,PEER on two hosts, containers of both reach each other by their addresses, as neighbours do.",
        one_network,
    )
    .exercise("vxlan"),
    Check::new(
        "vxlan-big",
        Network,
        "Much data arrives, both ways, and so does a datagram that's just short enough for a cable: nothing is too long on the way.",
        big,
    )
    .exercise("vxlan"),
    Check::new(
        "vxlan-rm",
        Network,
        "The way to the other host is no container: it isn't counted, and goes with its network, by rm and by prune.",
        rm,
    )
    .exercise("vxlan"),
    Check::new(
        "vxlan-bad",
        Network,
        "What is no number or no address of a host, and a number that is taken, are refused, and nothing is made.",
        bad,
    )
    .exercise("vxlan"),
];

/// The two hosts' addresses on the cable between them.
const HERE: &str = "10.77.0.1";
const THERE: &str = "10.77.0.2";

/// What all of the network's addresses begin with.
const NETWORK: &str = "10.9.8.";

/// The options of each host: an address of its own in the network, and where the other one is.
const OPTIONS_HERE: [&str; 4] = ["--vxlan=42,10.77.0.2", "--subnet=10.9.8.0/24", "--gateway=10.9.8.1", "one"];
const OPTIONS_THERE: [&str; 4] =
    ["--vxlan=42,10.77.0.1", "--subnet=10.9.8.0/24", "--gateway=10.9.8.129", "one"];

fn needs_vxlan() -> Result<()> {
    let probe = ["link", "add", "probe", "type", "vxlan", "id", "1", "remote", THERE, "dstport", "4789"];
    arrange(&probe).map_err(|_| cannot_run("this kernel has no vxlan"))?;
    arrange(&["link", "delete", "probe"])
}

/// The other host. The check itself is on the first one.
struct Host(File);

impl Host {
    /// With a cable to the first one.
    fn other() -> Result<Host> {
        needs_vxlan()?;
        let network = || {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network for the other host")?;
            arrange(&["link", "set", "lo", "up"])?;
            File::open("/proc/thread-self/ns/net").context("opening the other host's network")
        };
        let network = thread::spawn(network).join().map_err(|_| anyhow!("a thread panicked"))??;
        let host = Host(network);
        arrange(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &host.path()])?;
        let up = |address: &str| {
            arrange(&["address", "add", &format!("{address}/24"), "dev", "wire"])?;
            arrange(&["link", "set", "wire", "up"])
        };
        up(HERE)?;
        within(&host.0, || up(THERE))?;
        Ok(host)
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }

    /// The same, on that host.
    fn on<'a>(&self, run: Run<'a>) -> Run<'a> {
        run.under(["nsenter".to_string(), format!("--net={}", self.path())])
    }
}

/// A container of the network `one`, with an address that's none of these: neither host knows which ones the other has
/// given.
fn placed<'a>(lab: &'a Lab, on: &dyn Fn(Run<'a>) -> Run<'a>, taken: &[&str]) -> Result<(Kept<'a>, String)> {
    for _ in 0..5 {
        let one = on(lab.kept(["sleep", "1000"]).with(["--network", "one"])).detach()?;
        let address = end_in(&one, NETWORK, 24)?.address;
        if !taken.contains(&address.as_str()) {
            return Ok((one, address));
        }
        one.remove()?;
    }
    Err(anyhow!("five containers have got an address out of {taken:?}"))
}

/// A container on each host, and their addresses, the other one's last.
fn two<'a>(lab: &'a Lab, other: &Host) -> Result<[(Kept<'a>, String); 2]> {
    make(lab, &OPTIONS_HERE[..3], OPTIONS_HERE[3])?;
    other
        .on(lab.call("network", ["create"].iter().chain(&OPTIONS_THERE)))
        .finish()?
        .succeeds()?
        .prints("one\n")?;
    let gateways = ["10.9.8.1", "10.9.8.129"];
    let here = placed(lab, &|run| run, &gateways)?;
    let there = placed(lab, &|run| other.on(run), &[gateways[0], gateways[1], &here.1])?;
    Ok([here, there])
}

fn one_network(lab: &Lab) -> Result<()> {
    let other = Host::other()?;
    let [(here, own), (there, his)] = two(lab, &other)?;
    let (own, his) = (own.parse()?, his.parse()?);
    Server::tcp(&there, 80)?.must_see(&here, 0, his, Some(own))?;
    Server::tcp(&here, 80)?.must_see(&there, 0, own, Some(his))?;
    Server::udp(&there, 99)?.must_see(&here, 0, his, Some(own))?;
    // So that a host that's no runtime of ours gets along with it.
    let device = ways()?.into_iter().find(|way| way["master"] == "byhand1").unwrap_or_default();
    let data = &device["linkinfo"]["info_data"];
    let told = (&data["id"], &data["remote"], &data["port"]);
    let expected = (&Value::from(42), &Value::from(THERE), &Value::from(4789));
    see::same("ip -d link show type vxlan", "id, remote and port of the one in byhand1", expected, told)
}

/// All VXLAN devices of this host.
fn ways() -> Result<Vec<Value>> {
    ip(None, &["-d", "link", "show", "type", "vxlan"])
}

fn big(lab: &Lab) -> Result<()> {
    const LENGTH: usize = 300_000;
    const LONG: usize = 1500 - 20 - 8; // with its headers, what a frame of Ethernet takes
    let other = Host::other()?;
    let [(here, own), (there, his)] = two(lab, &other)?;
    for (from, to, address) in [(&here, &there, &his), (&there, &here, &own)] {
        let server = datagrams(to, 99)?;
        let did =
            format!("{}; then somebody there sends a datagram of {LONG} bytes to {address}", from.line());
        datagrams(from, 0)?.send_to(&[b'x'; LONG], format!("{address}:99")).context("sending a datagram")?;
        let arrived = server.recv(&mut [0; 2 * LONG]).ok();
        see::same(did, "the length of what arrives:", Some(LONG), arrived)?;
        let Server::Tcp(server) = Server::tcp(to, 80)? else { continue };
        let did = format!("{}; then somebody there sends {LENGTH} bytes to {address}", from.line());
        let stream = connected(from, 0, format!("{address}:80").parse()?)?;
        let mut stream = stream.ok_or_else(|| see::differs(&did, "a connection", "none"))?;
        let (mut served, _) = server.accept().context("accepting a connection")?;
        served.set_read_timeout(Some(Duration::from_secs(5)))?;
        let sender = thread::spawn(move || stream.write_all(&[b'x'; LENGTH]));
        let mut bytes = Vec::new();
        let end = served.read_to_end(&mut bytes).err().map(|error| error.to_string());
        drop(served);
        let _ = sender.join(); // what arrives counts
        see::same(&did, "bytes, and then no error:", (LENGTH, None), (bytes.len(), end))?;
    }
    Ok(())
}

fn rm(lab: &Lab) -> Result<()> {
    needs_vxlan()?;
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?; // the image is there
    let before = (interfaces(None)?, nft(&["list", "ruleset"])?);
    let again = || make(lab, &OPTIONS_HERE[..3], OPTIONS_HERE[3]);
    let is_as_before = |did: &str| {
        let after = (interfaces(None)?, nft(&["list", "ruleset"])?);
        see::same(did, "interfaces and rules:", &before, &after)
    };
    again()?;
    see::same("network create --vxlan", "ways to another host:", 1, ways()?.len())?;
    let row = |containers: u8| vec![format!("one byhand1 10.9.8.0/24 out {containers}")];
    see::same("network ls", "rows:", row(0), rows(lab)?)?;
    let one = lab.kept(["sleep", "1000"]).with(["--network", "one"]).detach()?;
    see::same("network ls", "rows:", row(1), rows(lab)?)?;
    let outcome = lab.call("network", ["inspect", "one"]).finish()?;
    let told: Value = serde_json::from_slice(&outcome.succeeds()?.stdout).context("reading JSON")?;
    let ids: Vec<_> =
        told[0]["Containers"].as_object().into_iter().flatten().map(|(id, _)| id.as_str()).collect();
    see::same(&outcome.line, "Containers:", vec![one.id()], ids)?;
    lab.refuses("network", ["rm", "one"], "one")?;
    lab.says("network", ["prune"], "")?;
    see::same("network rm of one in use", "ways to another host:", 1, ways()?.len())?;
    one.remove()?;
    lab.says("network", ["rm", "one"], "one\n")?;
    is_as_before("network rm")?;
    again()?;
    lab.says("network", ["prune"], "one\n")?;
    is_as_before("network prune")?;
    again()?;
    arrange(&["link", "delete", "byhand1"])?; // somebody doesn't know better
    again()?;
    lab.says("network", ["rm", "one"], "one\n")?;
    is_as_before("network rm, of one whose bridge had been deleted by hand")
}

fn bad(lab: &Lab) -> Result<()> {
    needs_vxlan()?;
    make(lab, &["--vxlan", "16777215,10.77.0.2"], "one")?; // else everything would be refused
    let before = (interfaces(None)?, nft(&["list", "ruleset"])?);
    let with = |word: &'static str| ["create", "--vxlan", word, "two"];
    for word in [
        "",
        "42",
        "42,",
        ",10.77.0.2",
        "0,10.77.0.2",
        "16777216,10.77.0.2",
        "-1,10.77.0.2",
        "x,10.77.0.2",
        "42,0.0.0.0",
        "42,127.0.0.1",
        "42,224.0.0.1",
        "42,255.255.255.255",
        "42,10.77.0",
        "42,fd00::1",
        "42,host",
    ] {
        lab.call("network", with(word)).finish()?.refuses(&[1, 125])?;
    }
    lab.refuses("network", with("16777215,10.77.0.3"), "16777215")?; // `one` has it
    let after = (interfaces(None)?, nft(&["list", "ruleset"])?);
    see::same("network create --vxlan, with bad words", "interfaces and rules:", before, after)?;
    only_networks(lab, &["one"])?;
    make(lab, &["--vxlan", "16777214,10.77.0.2"], "two")
}
