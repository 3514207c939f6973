//! Networks that don't reach each other, and some that reach nobody else.

use std::fs;
use std::net::{SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::asker::{Asker, inside};
use super::dns::{A, NOERROR, NXDOMAIN, SERVFAIL};
use super::names::named;
use super::networks::make;
use super::ports::{answers, needs_ipv6};
use super::upstream::{HOME, Upstream, host_has, usual};
use super::world::{FAR_AWAY, UPLINK, far_away};
use super::{arrange, asked, end, end_in, ip, server};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-apart",
        Network,
        "Containers of two networks don't reach each other by their addresses, and those of one network do.",
        apart,
    ),
    Check::new(
        "net-lies",
        Network,
        "Who says that he's on another network gets nothing in there, though his next one answers to it as if he were.",
        lies,
    ),
    Check::new(
        "net-internal",
        Network,
        "From a network that was made with --internal nothing gets out, whatever way a container knows; within it all is as ever.",
        internal,
    ),
    Check::new(
        "net-internal-ports",
        Network,
        "Out of an internal network no published port of others is reached, by IPv4 or IPv6; its own are, from the host.",
        internal_ports,
    ),
    Check::new(
        "net-internal-names",
        Network,
        "On an internal network names of others outside get the answer that it failed, and nobody outside hears of them.",
        internal_names,
    ),
    Check::new(
        "net-stale",
        Network,
        "If somebody has taken a network's bridge away with ip link delete, the next network has rules of its own.",
        stale,
    ),
];

/// Whether somebody at this address, `ADDRESS:PORT`, takes a connection from there. If not, it takes as long as this.
pub(super) fn reaches(from: Process, address: &str) -> Result<bool> {
    const ENOUGH: Duration = Duration::from_secs(1);
    let there = address.parse()?;
    inside(from, || Ok(TcpStream::connect_timeout(&there, ENOUGH).is_ok()))
}

/// Fails if it's not so.
pub(super) fn must_reach(from: &Kept<'_>, address: &str, expected: bool) -> Result<()> {
    let did = format!("{}; then, in there: nc -w 1 {}", from.line(), address.replace(':', " "));
    see::same(did, "to reach somebody:", expected, reaches(from.process()?, address)?)
}

fn apart(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--subnet", "10.9.8.0/24"], "two")?;
    make(lab, &["--internal"], "inner")?;
    let on = |network| -> Result<_> { server(lab, &["--network", network], "hello") };
    let (one, two, three, four) = (on("one")?, on("two")?, on("bridge")?, on("inner")?);
    let beside = named(lab, "beside", &["--network", "one"])?;
    let all = [
        (&one, end_in(&one, "172.30.1.", 24)?.address),
        (&two, end_in(&two, "10.9.8.", 24)?.address),
        (&three, end(&three)?.address),
        (&four, end_in(&four, "172.30.3.", 24)?.address),
    ];
    for (_, address) in &all {
        asked(&format!("{address}:80"))?; // it serves: the host is on all networks
    }
    must_reach(&beside, &format!("{}:80", all[0].1), true)?;
    for (from, own) in &all {
        for (_, address) in all.iter().filter(|(_, address)| address != own) {
            must_reach(from, &format!("{address}:80"), false)?;
        }
    }
    Ok(())
}

/// A kernel may turn such packets away of its own accord (rp_filter in ip-sysctl); most don't.
fn believe_everybody() -> Result<()> {
    for file in ["all", "default"].map(|which| format!("/proc/sys/net/ipv4/conf/{which}/rp_filter")) {
        fs::write(&file, "0").with_context(|| format!("writing {file}, in the check's own network"))?;
    }
    Ok(())
}

/// The host takes what answers a packet for an answer, and gives it to whoever has sent that.
fn lies(lab: &Lab) -> Result<()> {
    believe_everybody()?;
    make(lab, &[], "one")?;
    make(lab, &[], "two")?;
    let victim = named(lab, "victim", &["--network", "one"])?;
    let liar = named(lab, "liar", &["--network", "two"])?;
    let friend = named(lab, "friend", &["--network", "two"])?;
    let (his, there) = (end_in(&victim, "172.30.1.", 24)?.address, end_in(&friend, "172.30.2.", 24)?.address);
    let listens = |one: &Kept<'_>, address: &str, port: u16| {
        inside(one.process()?, || {
            let socket = UdpSocket::bind((address, port)).context("listening in the container")?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok(socket)
        })
    };
    ip(Some(liar.process()?), &["route", "add", &there, "via", "172.30.2.1"])?; // by the host
    ip(Some(liar.process()?), &["address", "add", &his, "dev", "eth0"])?;
    let (hears, answers) = (listens(&victim, &his, 99)?, listens(&friend, &there, 77)?);
    let mut bytes = [0; 100];
    for _ in 0..2 {
        listens(&liar, &his, 99)?.send_to(b"I'm on the other network", (&*there, 77))?;
        if let Ok((_, from)) = answers.recv_from(&mut bytes) {
            answers.send_to(b"from another network", from)?;
        }
    }
    let heard =
        hears.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned());
    see::same(liar.line(), "what somebody on another network hears:", None, heard)?;
    // Else nothing would ever have come this way.
    listens(&liar, "0.0.0.0", 98)?.send_to(b"I'm here", (&*there, 77))?;
    let length =
        answers.recv(&mut bytes).map_err(|error| friend.differs("a packet by way of the gateway", error))?;
    see::same(
        friend.line(),
        "what it hears of its neighbour:",
        "I'm here",
        &String::from_utf8_lossy(&bytes[..length]),
    )
}

/// What a container says to somebody far away, in a datagram that needs no answer.
fn tells(from: &Kept<'_>, text: &str) -> Result<()> {
    inside(from.process()?, || {
        let socket = UdpSocket::bind("0.0.0.0:0").context("making a socket")?;
        let _ = socket.send_to(text.as_bytes(), (FAR_AWAY, 9)); // who doesn't get out may hear that at once
        Ok(())
    })
}

/// All that somebody far away is told, until the end. He'd take a connection, too.
fn listens(ready: &dyn Fn()) -> Result<Vec<String>> {
    let _door = TcpListener::bind((FAR_AWAY, 80)).context("listening far away")?;
    let socket = UdpSocket::bind((FAR_AWAY, 9)).context("listening far away")?;
    socket.set_read_timeout(Some(SOON))?;
    ready();
    let (mut told, mut bytes) = (Vec::new(), [0; 100]);
    while told.last().is_none_or(|last| last != "the end") {
        let length = socket.recv(&mut bytes).context("nobody says that it's the end")?;
        told.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    Ok(told)
}

/// A container may do that: it's the host that has to let nothing through.
fn gives_itself_a_route(one: &Kept<'_>, gateway: &str) -> Result<()> {
    ip(Some(one.process()?), &["route", "add", "default", "via", gateway]).map(drop)
}

fn internal(lab: &Lab) -> Result<()> {
    make(lab, &["--internal"], "inner")?;
    make(lab, &[], "outer")?;
    let one = server(lab, &["--network", "inner"], "hello")?;
    let two = named(lab, "two", &["--network", "inner"])?;
    let free = named(lab, "free", &["--network", "outer"])?;
    let within = format!("{}:80", end_in(&one, "172.30.1.", 24)?.address);
    let routes = ip(Some(two.process()?), &["route", "show", "default"])?;
    see::same(two.line(), "default routes:", 0, routes.len())?;
    asked(&within)?; // it serves
    must_reach(&two, &within, true)?;

    gives_itself_a_route(&two, "172.30.1.1")?;
    let _door = TcpListener::bind("0.0.0.0:7000").context("listening on the host")?;
    let far = format!("{FAR_AWAY}:80");
    let (uplink, other) = (format!("{UPLINK}:7000"), "172.30.2.1:7000");
    let here = || -> Result<()> {
        wait_for(SOON, || Ok(reaches(free.process()?, &far)?.then_some(())))?;
        for address in [&*far, &*uplink, other] {
            must_reach(&free, address, true)?;
        }
        tells(&two, "from the internal network")?;
        for address in [&*far, &*uplink, other] {
            must_reach(&two, address, false)?;
        }
        tells(&free, "the end")
    };
    let ((), told) = far_away(listens, here)?;
    see::same(two.line(), "what somebody far away hears:", vec!["the end".to_string()], told)?;
    must_reach(&two, &within, true)
}

fn internal_ports(lab: &Lab) -> Result<()> {
    make(lab, &["--internal"], "inner")?;
    let open = server(lab, &["-p", "8080:80"], "hello")?;
    asked("127.0.0.1:8080")?; // it serves
    let two = server(lab, &["--network", "inner", "-p", "8081:80"], "from within")?;
    gives_itself_a_route(&two, "172.30.1.1")?;
    must_reach(&two, "172.30.1.1:8080", false)?;
    if needs_ipv6().is_ok() {
        let by_ipv6 = reaches_by_ipv6(&two)?;
        see::same(open.line(), "to be reached by IPv6 from an internal network:", false, by_ipv6)?;
    }
    answers(&two, "127.0.0.1:8081", "from within\n")
}

/// Whether port 8080 of the host is reached at the address that the first bridge has by IPv6. An interface has one that
/// nobody gave it, made of its hardware address. It's in force a moment later, when nobody else was found to have it.
fn reaches_by_ipv6(from: &Kept<'_>) -> Result<bool> {
    let settled = ["-6", "address", "show", "dev", "eth0", "-tentative"];
    // Never, where the runtime has switched it off in the container, too.
    wait_for(SOON, || Ok((!ip(Some(from.process()?), &settled)?.is_empty()).then_some(())))?;
    inside(from.process()?, || {
        let here = if_nametoindex("eth0")?;
        let gateway = SocketAddrV6::new("fe80::42:acff:fe1e:101".parse()?, 8080, 0, here);
        let open = || TcpStream::connect_timeout(&gateway.into(), Duration::from_secs(1)).is_ok();
        Ok(open() || open() || open())
    })
}

fn internal_names(lab: &Lab) -> Result<()> {
    host_has(lab, HOME)?;
    let upstream = Upstream::at("127.0.0.1", usual)?;
    make(lab, &["--internal"], "inner")?;
    let one = named(lab, "one", &["--network", "inner"])?;
    let two = named(lab, "two", &["--network", "inner", "--network-alias", "web"])?;
    let (first, second) = (end_in(&one, "172.30.1.", 24)?.address, end_in(&two, "172.30.1.", 24)?.address);
    let asker = Asker::of(&one)?;
    for name in ["a.example", "secret.b.example"] {
        asker.hears(name, A, SERVFAIL, &[])?;
        let (by_tcp, _) = asker.asks_by_tcp(name, A)?;
        see::same(one.line(), "the answer's code by TCP:", SERVFAIL, by_tcp.code)?;
    }
    asker.hears("unknown", A, NXDOMAIN, &[])?;
    asker.finds("one", &[&first])?;
    asker.finds("two", &[&second])?;
    asker.finds("web", &[&second])?;
    let free = named(lab, "free", &[])?;
    Asker::of(&free)?.hears("known.example", A, NOERROR, &["10.1.1.1"])?; // on the default network it's asked
    let heard = upstream.heard();
    see::same(one.line(), "what the host's nameserver heard:", vec!["known.example".to_string()], heard)
}

fn stale(lab: &Lab) -> Result<()> {
    make(lab, &[], "old")?;
    lab.run(["true"]).with(["--network", "old"]).finish()?.succeeds()?;
    arrange(&["link", "delete", "byhand1"])?;
    make(lab, &["--internal", "--subnet", "10.9.8.0/24"], "inner")?;
    make(lab, &[], "outer")?;
    let one = server(lab, &["--network", "inner"], "hello")?;
    let free = named(lab, "free", &["--network", "outer"])?;
    let within = format!("{}:80", end_in(&one, "10.9.8.", 24)?.address);
    asked(&within)?; // it serves
    gives_itself_a_route(&one, "10.9.8.1")?;
    let _door = TcpListener::bind("0.0.0.0:7000").context("listening on the host")?;
    must_reach(&free, "172.30.2.1:7000", true)?;
    must_reach(&one, "172.30.2.1:7000", false)?;
    must_reach(&free, &within, false)
}
