//! Networks with IPv6: `network create --ipv6`.

use std::fs;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result, anyhow};
use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};

use super::apart::reaches;
use super::asker::{Asker, inside};
use super::dns::{AAAA, NOERROR, NXDOMAIN, PTR};
use super::names::named;
use super::networks::{make, only_networks};
use super::ports::{answers, needs_ipv6, road_from_far_away, was_outside};
use super::world::{far_away, nft};
use super::{answer, arrange, asked, end_in, ip, seen, server};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "ipv6-network",
        Network,
        "network create --ipv6 --subnet fd00:9:8:7::/64: its containers have addresses in there, reach each other by them at once.",
        network,
    ),
    Check::new(
        "ipv6-own",
        Network,
        "With --ipv6 alone a network gets IPv6 addresses of its own, for private use; without it, it has none.",
        own,
    ),
    Check::new(
        "ipv6-bad",
        Network,
        "What is no IPv6 network of half an address is refused, and so are one without --ipv6, two, and one that the host has a way to.",
        bad,
    ),
    Check::new(
        "ipv6-names",
        Network,
        "A name on such a network has an IPv6 address as well, the address has the name, and /etc/hosts has the container's own.",
        names,
    ),
    Check::new(
        "ipv6-out",
        Network,
        "A container reaches somebody outside by IPv6, who sees the host's address; without such a network the host forwards nothing.",
        out,
    ),
    Check::new(
        "ipv6-listens",
        Network,
        "An interface that listens to routers (accept_ra is 1) does so when the host forwards, too; one that doesn't stays as it is.",
        listens,
    ),
    Check::new(
        "ipv6-shut",
        Network,
        "Who is outside and knows the way to the IPv6 addresses doesn't get in, and neither does who is on another network.",
        shut,
    ),
    Check::new(
        "ipv6-ports",
        Network,
        "A client from outside comes to a published port by IPv6, and the server sees the client's own address; rm -f leaves no rule.",
        ports,
    ),
    Check::new(
        "ipv6-four",
        Network,
        "Where the host forwards IPv6, nothing gets out of a network without IPv6, whatever address a container gives itself.",
        four,
    ),
    Check::new(
        "ipv6-internal",
        Network,
        "On an internal network containers reach each other by IPv6, and nothing gets out.",
        internal,
    ),
    Check::new("ipv6-gone", Network, "With network rm its rules for IPv6 go, too.", gone),
];

/// The network of most checks.
const SIX: &[&str] = &["--ipv6", "--subnet", "10.9.8.0/24", "--subnet", "fd00:9:8:7::/64"];
const PREFIX: &str = "fd00:9:8:7:";

/// Whoever is far away, and the host's address on the way there.
const FAR_AWAY: &str = "fd00:99::1";
const UPLINK: &str = "fd00:99::2";

/// An address in the network of most checks, which nobody has.
const LIAR: &str = "fd00:9:8:7::77";

const FORWARD: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Gives an interface of ours an address that can be used at once.
fn give(interface: &str, address: &str) -> Result<()> {
    arrange(&["address", "add", &format!("{address}/64"), "dev", interface, "nodad"])
}

/// Of a container's end the IPv6 addresses that are good for more than its cable, each as `ADDRESS/LENGTH`. They have to
/// be ready.
fn all_of(one: &Kept<'_>) -> Result<Vec<String>> {
    let found = ip(Some(one.process()?), &["-6", "address", "show", "dev", "eth0", "scope", "global"])?;
    let infos = found.iter().flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
    let infos: Vec<Value> = infos.filter(|info| info["local"].is_string()).collect(); // ip prints empty ones, too
    if infos.iter().any(|info| info["tentative"] == true) {
        return Err(one.differs("an IPv6 address that can be used at once (nodad)", json!(infos)));
    }
    let text = |info: &Value| format!("{}/{}", info["local"].as_str().unwrap_or("?"), info["prefixlen"]);
    Ok(infos.iter().map(text).collect())
}

/// The one that it has, of a network that begins so.
fn address_of(one: &Kept<'_>, begins: &str) -> Result<String> {
    let all = all_of(one)?;
    match &all[..] {
        [only] if only.starts_with(begins) && only.ends_with("/64") => {
            Ok(only.trim_end_matches("/64").to_string())
        }
        _ => Err(one.differs(format!("one address of {begins}:/64 at eth0"), format!("{all:?}"))),
    }
}

/// Fails unless a server's port 80 is reached, or isn't.
fn must_reach(from: &Kept<'_>, address: &str, expected: bool) -> Result<()> {
    let did = format!("{}; then, in there: nc -w 1 {address} 80", from.line());
    let reaches = || reaches(from.process()?, &format!("[{address}]:80"));
    // An interface of the check's own has just been made, perhaps, and for a second or two its first address is tentative.
    let reached =
        if expected { wait_for(SOON, || Ok(reaches()?.then_some(())))?.is_some() } else { reaches()? };
    see::same(did, "to reach somebody:", expected, reached)
}

/// What `network inspect` tells of the only network that's asked for.
fn told(lab: &Lab, name: &str) -> Result<Value> {
    let outcome = lab.call("network", ["inspect", name]).finish()?;
    let text = outcome.succeeds()?.output();
    let all: Value = serde_json::from_str(&text).with_context(|| format!("{text:?} is no JSON"))?;
    Ok(all[0].clone())
}

fn network(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    make(lab, SIX, "six")?;
    let known = told(lab, "six")?;
    let config = &known["IPAM"]["Config"];
    let of_network = json!([known["EnableIPv6"], config[0]["Subnet"], config[1]["Subnet"]]);
    let expected = json!([true, "10.9.8.0/24", "fd00:9:8:7::/64"]);
    see::same("network inspect six", "EnableIPv6, and the two subnets:", expected, of_network)?;
    let gateway = config[1]["Gateway"].as_str().unwrap_or_default().to_string();

    let web = server(lab, &["--network", "six"], "hello")?;
    let (address, other) = (address_of(&web, PREFIX)?, named(lab, "other", &["--network", "six"])?);
    end_in(&web, "10.9.8.", 24)?;
    let own = address_of(&other, PREFIX)?;
    see::same(other.line(), "to have an address of its own:", true, own != address && own != gateway)?;
    wait_for(SOON, || Ok(reaches(web.process()?, "[::1]:80")?.then_some(())))?; // it serves
    must_reach(&other, &address, true)?;
    answers(&web, &format!("[{address}]:80"), "hello\n")?; // the host is on the network as well

    let settings = &web.inspected()?["NetworkSettings"]["Networks"]["six"];
    let said =
        json!([settings["GlobalIPv6Address"], settings["GlobalIPv6PrefixLen"], settings["IPv6Gateway"]]);
    let expected = json!([address, 64, gateway]);
    see::same(web.line(), "GlobalIPv6Address, GlobalIPv6PrefixLen and IPv6Gateway", expected, said)?;
    let known = told(lab, "six")?;
    let said = &known["Containers"][web.id()]["IPv6Address"];
    see::same("network inspect six", "IPv6Address", &json!(format!("{address}/64")), said)
}

fn own(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let mut subnets = Vec::new();
    for name in ["one", "two"] {
        make(lab, &["--ipv6"], name)?;
        let known = told(lab, name)?;
        let subnet = known["IPAM"]["Config"][1]["Subnet"].as_str().unwrap_or_default().to_string();
        let is_private = subnet.starts_with("fd") && subnet.ends_with("::/64");
        see::same(format!("network inspect {name}, which says {subnet:?}"), "fd…::/64:", true, is_private)?;
        let one = lab.kept(["sleep", "1000"]).with(["--network", name]).detach()?;
        address_of(&one, subnet.trim_end_matches(":/64"))?;
        subnets.push(subnet);
    }
    see::same("network create --ipv6, twice", "to be two subnets:", true, subnets[0] != subnets[1])?;
    make(lab, &[], "four")?;
    see::same("network inspect four", "EnableIPv6", &json!(false), &told(lab, "four")?["EnableIPv6"])?;
    for network in ["four", "bridge"] {
        let one = lab.kept(["sleep", "1000"]).with(["--network", network]).detach()?;
        see::same(one.line(), "its IPv6 addresses:", Vec::<String>::new(), all_of(&one)?)?;
    }
    Ok(())
}

fn bad(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    for subnet in ["fd00::/48", "fd00::1/64", "fe80::/64", "ff02::/64", "::/64", "fd00::", "fd00:x::/64"] {
        let words = ["create", "--ipv6", "--subnet", subnet, "six"];
        lab.call("network", words).finish()?.refuses(&[125])?.mentions(subnet)?;
    }
    let refused = |options: &[&str]| -> Result<()> {
        let words = [&["create"], options, &["six"]].concat();
        lab.call("network", words).finish()?.refuses(&[1, 125]).map(drop)
    };
    refused(&["--subnet", "fd00:9:8:7::/64"])?;
    refused(&["--ipv6", "--subnet", "fd00:9:8:7::/64", "--subnet", "fd00:9:8:6::/64"])?;
    arrange(&["link", "add", "others", "type", "veth", "peer", "name", "there"])?;
    arrange(&["link", "set", "others", "up"])?;
    give("others", "fd00:9:8:7::77")?;
    refused(SIX)?;
    only_networks(lab, &[])?;
    make(lab, &["--ipv6", "--subnet", "fd00:9:8:6::/64"], "six")
}

/// The name that stands for an address: 32 digits, the last one first.
fn reversed(address: &str) -> Result<String> {
    let digits = format!("{:032x}", address.parse::<Ipv6Addr>()?.to_bits());
    Ok(digits.chars().rev().map(|digit| format!("{digit}.")).collect::<String>() + "ip6.arpa")
}

fn names(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    make(lab, SIX, "six")?;
    let web = named(lab, "web", &["--network", "six", "--network-alias", "www"])?;
    let (address, short) = (address_of(&web, PREFIX)?, end_in(&web, "10.9.8.", 24)?.address);
    let other = named(lab, "other", &["--network", "six"])?;
    let asker = Asker::of(&other)?;
    for name in ["web", "www", web.id()] {
        asker.hears(name, AAAA, NOERROR, &[&address])?;
        asker.finds(name, &[&short])?;
    }
    asker.hears(&reversed(&address)?, PTR, NOERROR, &["web"])?;
    // They're nobody's, and no business of others either.
    for address in ["fd00:9:8:7::77", "fd00:9:8:7:1::a09:807", "fd00:9:8:7::a09:8fe"] {
        asker.hears(&reversed(address)?, PTR, NXDOMAIN, &[])?;
    }
    let outcome = lab.call("exec", [web.id(), "cat", "/etc/hosts"]).finish()?;
    let hosts = outcome.succeeds()?.output();
    let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let has = |address: &str| hosts.lines().any(|line| words(line) == [address, web.id()]);
    if has(&address) && has(&short) {
        return Ok(());
    }
    Err(outcome.differs(format!("lines for {short} and {address}")))
}

/// Answers one question, in a network far away. Returns who has asked.
fn answer_one(ready: &dyn Fn()) -> Result<Option<String>> {
    give("eth0", FAR_AWAY)?;
    let listener = TcpListener::bind((FAR_AWAY, 80)).context("listening far away")?;
    listener.set_nonblocking(true)?;
    ready();
    let came = wait_for(SOON, || Ok(listener.accept().ok()))?;
    Ok(came.map(|(_, from)| from.ip().to_string()))
}

fn out(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let forwards = || fs::read_to_string(FORWARD).with_context(|| format!("reading {FORWARD}"));
    fs::write(FORWARD, "0").with_context(|| format!("writing {FORWARD}, in the check's own network"))?;
    make(lab, &[], "four")?;
    let four = lab.run(["true"]).with(["--network", "four"]).finish()?;
    four.succeeds()?;
    see::same(&four.line, FORWARD, "0\n".to_string(), forwards()?)?;
    make(lab, SIX, "six")?;
    let one = lab.kept(["sleep", "1000"]).with(["--network", "six"]).detach()?;
    let here = || {
        give("uplink", UPLINK)?;
        must_reach(&one, FAR_AWAY, true)
    };
    let ((), seen) = far_away(answer_one, here)?;
    see::same(one.line(), "who has asked, as seen from there:", Some(UPLINK.to_string()), seen)?;
    see::same(one.line(), FORWARD, "1\n".to_string(), forwards()?)
}

fn listens(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let file = |interface: &str| format!("/proc/sys/net/ipv6/conf/{interface}/accept_ra");
    fs::write(FORWARD, "0").with_context(|| format!("writing {FORWARD}, in the check's own network"))?;
    arrange(&["link", "add", "listens", "type", "veth", "peer", "name", "deaf"])?;
    for (interface, says) in [("listens", "1"), ("deaf", "0"), ("default", "1")] {
        fs::write(file(interface), says).with_context(|| format!("writing {}", file(interface)))?;
    }
    make(lab, SIX, "six")?;
    let run = lab.run(["true"]).with(["--network", "six"]).finish()?;
    run.succeeds()?;
    for (interface, expected) in [("listens", "2\n"), ("deaf", "0\n"), ("default", "2\n")] {
        let file = file(interface);
        see::same(&run.line, &file, expected.to_string(), fs::read_to_string(&file)?)?;
    }
    // Who has set it himself, when the host forwards already, is left alone.
    fs::write(file("listens"), "1")?;
    let run = lab.run(["true"]).with(["--network", "six"]).finish()?;
    run.succeeds()?;
    see::same(&run.line, &file("listens"), "1\n".to_string(), fs::read_to_string(file("listens"))?)
}

fn shut(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    make(lab, SIX, "six")?;
    make(lab, &["--ipv6", "--subnet", "fd00:9:8:6::/64"], "next")?;
    let web = server(lab, &["--network", "six"], "hello")?;
    let address = address_of(&web, PREFIX)?;
    let next = lab.kept(["sleep", "1000"]).with(["--network", "next"]).detach()?;
    let beside = lab.kept(["sleep", "1000"]).with(["--network", "six"]).detach()?;
    answers(&web, &format!("[{address}]:80"), "hello\n")?; // it serves
    must_reach(&beside, &address, true)?;
    must_reach(&next, &address, false)?;
    let _road = TcpListener::bind("[::]:7000").context("listening")?;
    let hears = UdpSocket::bind("[::]:7000").context("listening")?;
    hears.set_read_timeout(Some(SOON))?;
    let ask = |ready: &dyn Fn()| {
        give("eth0", FAR_AWAY)?;
        ready();
        road_from_far_away(UPLINK.parse()?)?;
        arrange(&["-6", "route", "add", "fd00:9:8:7::/64", "via", UPLINK])?;
        let text = answer(&format!("[{address}]:80")).unwrap_or_default();
        // Whoever says that he's in there isn't believed; and then somebody says who he is.
        arrange(&["address", "add", LIAR, "dev", "lo", "nodad"])?;
        for own in [LIAR, FAR_AWAY] {
            let socket = UdpSocket::bind((own, 0)).context("making a socket")?;
            socket.send_to(b"hello", (UPLINK, 7000)).context("saying something to the host")?;
        }
        Ok(text)
    };
    let ((), text) = far_away(ask, || give("uplink", UPLINK))?;
    see::same(web.line(), "what somebody gets who knows the way:", String::new(), text)?;
    let (_, first) = hears.recv_from(&mut [0; 10]).context("nobody was heard")?;
    see::same(web.line(), "whom the host hears from outside:", FAR_AWAY, &first.ip().to_string())
}

fn ports(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    make(lab, SIX, "six")?;
    lab.run(["true"]).with(["--network", "six"]).finish()?.succeeds()?; // what stays is there
    let before = nft(&["list", "ruleset"])?;
    let one = server(lab, &["--network", "six", "-p", "8080:80"], "hello")?;
    answers(&one, "[::1]:8080", "hello\n")?;
    let ask = |ready: &dyn Fn()| {
        give("eth0", FAR_AWAY)?;
        give("eth0", "fe80::98")?;
        ready();
        // By the address that the host has on the cable only, too.
        let on_cable = format!("[fe80::99%{}]:8080", if_nametoindex("eth0")?);
        let by_cable = asked(&on_cable).with_context(|| format!("asking {on_cable} from outside"))?;
        let answer = asked(&format!("[{UPLINK}]:8080"))?;
        Ok(if answer.ends_with("hello\n") { by_cable } else { answer })
    };
    let here = || {
        give("uplink", UPLINK)?;
        give("uplink", "fe80::99")
    };
    let ((), answer) = far_away(ask, here)?;
    was_outside(&one, &answer, FAR_AWAY)?;
    one.remove()?;
    let after = || nft(&["list", "ruleset"]);
    match wait_for(SOON, || Ok((after()? == before).then_some(())))? {
        Some(()) => Ok(()),
        None => see::same("rm -f", "all rules", before, after()?),
    }
}

/// The bytes of a hardware address.
fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow!("{text:?} is no hardware address"))
}

/// Hears what comes to somebody far away, until it's the end. Returns it.
fn hears(ready: &dyn Fn()) -> Result<Vec<String>> {
    give("eth0", FAR_AWAY)?;
    let socket = UdpSocket::bind((FAR_AWAY, 77)).context("listening far away")?;
    socket.set_read_timeout(Some(SOON))?;
    ready();
    let (mut bytes, mut heard) = ([0; 100], Vec::new());
    loop {
        let (length, from) = socket.recv_from(&mut bytes).context("waiting far away for the end")?;
        match &bytes[..length] {
            b"the end" => return Ok(heard),
            text => heard.push(format!("{:?} from {}", String::from_utf8_lossy(text), from.ip())),
        }
    }
}

fn four(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    make(lab, &[], "four")?;
    make(lab, SIX, "six")?;
    lab.run(["true"]).with(["--network", "six"]).finish()?.succeeds()?; // from now on the host forwards
    let mut liars = Vec::new();
    for (network, bridge) in [("four", "byhand1"), ("bridge", "byhand0")] {
        let one = lab.kept(["sleep", "1000"]).with(["--network", network]).detach()?;
        let inside = Some(one.process()?);
        ip(inside, &["address", "add", "fd00:77::5/64", "dev", "eth0", "nodad"])?;
        // The host's address on the cable belongs to the bridge's hardware address, whether it's there or not.
        let mac = seen(bridge)?["address"].as_str().unwrap_or_default().to_string();
        let [a, b, c, d, e, f] = parse_mac(&mac)?;
        let host = format!(
            "fe80::{:x}:{:x}:{:x}:{:x}",
            u16::from_be_bytes([a ^ 2, b]),
            u16::from_be_bytes([c, 0xff]),
            u16::from_be_bytes([0xfe, d]),
            u16::from_be_bytes([e, f])
        );
        ip(inside, &["neigh", "replace", &host, "lladdr", &mac, "dev", "eth0"])?;
        ip(inside, &["-6", "route", "add", "default", "via", &host, "dev", "eth0"])?;
        liars.push(one);
    }
    let here = || {
        give("uplink", UPLINK)?;
        for one in &liars {
            inside(one.process()?, || {
                let socket =
                    UdpSocket::bind("[fd00:77::5]:0").context("opening a socket in the container")?;
                for _ in 0..3 {
                    let _ = socket.send_to(b"out of here", (FAR_AWAY, 77)); // it may be told that nobody's there
                }
                Ok(())
            })?;
        }
        let own = UdpSocket::bind((UPLINK, 0)).context("opening a socket on the host")?;
        own.send_to(b"the end", (FAR_AWAY, 77)).context("sending from the host").map(drop)
    };
    let ((), heard) = far_away(hears, here)?;
    see::same(liars[0].line(), "what somebody outside hears by IPv6:", Vec::<String>::new(), heard)
}

fn internal(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    make(lab, &[SIX, &["--internal"]].concat(), "six")?;
    let web = server(lab, &["--network", "six"], "hello")?;
    let address = address_of(&web, PREFIX)?;
    let one = lab.kept(["sleep", "1000"]).with(["--network", "six"]).detach()?;
    wait_for(SOON, || Ok(reaches(web.process()?, "[::1]:80")?.then_some(())))?; // it serves
    must_reach(&one, &address, true)?;
    // Even if somebody in there knows a way, and the host forwards.
    let known = told(lab, "six")?;
    let gateway = known["IPAM"]["Config"][1]["Gateway"].as_str().unwrap_or_default().to_string();
    ip(Some(one.process()?), &["-6", "route", "add", "default", "via", &gateway])?;
    fs::write(FORWARD, "1").with_context(|| format!("writing {FORWARD}, in the check's own network"))?;
    let _hears = TcpListener::bind("[::]:80").context("listening on the host")?;
    let here = || {
        give("uplink", UPLINK)?;
        // The host finds out where that is, from an address that it can use at once. For somebody else's packet it would
        // ask from its link-local one, and that isn't ready.
        UdpSocket::bind((UPLINK, 0))
            .and_then(|socket| socket.send_to(b"", (FAR_AWAY, 9)))
            .context("asking")?;
        must_reach(&one, FAR_AWAY, false)?;
        must_reach(&one, UPLINK, false)?;
        // Else nothing would ever have got there.
        let there = format!("[{FAR_AWAY}]:80").parse()?;
        TcpStream::connect_timeout(&there, SOON).context("reaching somebody outside from the host").map(drop)
    };
    let there = |ready: &dyn Fn()| {
        // Whoever it is, an answer finds its way.
        arrange(&["-6", "route", "add", UPLINK, "dev", "eth0"])?;
        arrange(&["-6", "route", "add", "fd00:9:8:7::/64", "via", UPLINK])?;
        answer_one(ready)
    };
    let ((), seen) = far_away(there, here)?;
    see::same(one.line(), "who has asked, as seen from there:", Some(UPLINK.to_string()), seen)
}

fn gone(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let before = nft(&["list", "ruleset"])?;
    make(lab, SIX, "six")?;
    lab.run(["true"]).with(["--network", "six"]).finish()?.succeeds()?;
    let rules = nft(&["list", "ruleset"])?;
    see::same("run --network six", "rules about fd00:9:8:7::/64:", true, rules.contains("fd00:9:8:7::/64"))?;
    lab.says("network", ["rm", "six"], "six\n")?;
    see::same("network rm six", "all rules", before, nft(&["list", "ruleset"])?)
}
