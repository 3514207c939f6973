//! Ports of the host that lead into a container.

use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::json;

use super::world::{FAR_AWAY, UPLINK, far_away, nft};
use super::{End, GATEWAY, answer, arrange, asked, end, only_cables, server};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, cannot_run, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "port-local",
        Network,
        "-p 8080:80: on the host, port 8080 of 127.0.0.1, ::1 and the bridge's address leads to the container's port 80.",
        local,
    ),
    Check::new(
        "port-outside",
        Network,
        "Whoever comes from outside to a published port reaches the container, which sees the address that he has himself.",
        outside,
    ),
    Check::new(
        "port-hairpin",
        Network,
        "A container reaches a published port of the host's, its neighbour's and its own.",
        hairpin,
    ),
    Check::new(
        "port-there-only",
        Network,
        "-p 127.0.0.1:8080:80 publishes the port for the host alone.",
        there_only,
    ),
    Check::new(
        "network-shut",
        Network,
        "Whoever is outside and knows the way to the network doesn't get in; only published ports lead there.",
        shut,
    ),
    Check::new(
        "port-lets-go",
        Network,
        "run -d with a published port leaves its caller: who waits for the end of its output does not wait for the container.",
        lets_go,
    ),
    Check::new(
        "port-taken",
        Network,
        "A port that somebody else has, a container or not, is refused with 125 and its number, and nothing stays.",
        taken,
    ),
    Check::new(
        "port-gone",
        Network,
        "When the container ends, the port is free and its rules are gone: by rm -f, and after a kill -9 of the keeper.",
        gone,
    ),
    Check::new(
        "port-any",
        Network,
        "-p 80 takes a port that is free; port tells which, while the container runs.",
        any,
    ),
    Check::new(
        "network-inspect",
        Network,
        "inspect tells the network, the address and the ports of a container that runs, and no address of one that does not.",
        inspect,
    ),
    Check::new("port-again", Network, "A container that is started again publishes its ports again.", again),
    Check::new("port-restarts", Network, "A container that restarts has its port again each time.", restarts),
    Check::new(
        "port-many",
        Network,
        "A published port serves many at once, each with its own bytes, and does not wait for one who says nothing.",
        many,
    ),
    Check::new(
        "port-bad",
        Network,
        "What is no port, and a port without a network, is refused with 125.",
        bad,
    ),
];

pub(super) const PUBLISHED: &[&str] = &["-p", "8080:80"];

/// Fails unless the answer from there is this.
pub(super) fn answers(one: &Kept<'_>, address: &str, says: &str) -> Result<()> {
    let answer = asked(address)?;
    if answer.ends_with(says) { Ok(()) } else { Err(one.differs(format!("{says:?} from {address}"), answer)) }
}

/// Fails if there's no ::1 to be reached.
pub(super) fn needs_ipv6() -> Result<()> {
    if Path::new("/proc/net/if_inet6").exists() { Ok(()) } else { Err(cannot_run("this kernel has no IPv6")) }
}

fn local(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    for options in [PUBLISHED, &["--publish=8080:80/tcp"], &["-p8080:80"]] {
        let one = server(lab, options, "hello")?;
        for address in ["127.0.0.1:8080", "[::1]:8080", "172.30.0.1:8080"] {
            answers(&one, address, "hello\n")?;
        }
        one.remove()?;
        is_free("8080")?;
    }
    Ok(())
}

fn outside(lab: &Lab) -> Result<()> {
    let one = server(lab, PUBLISHED, "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?; // it serves
    let ask = |ready: &dyn Fn()| {
        ready();
        asked(&format!("{UPLINK}:8080"))
    };
    let ((), answer) = far_away(ask, || Ok(()))?;
    was_outside(&one, &answer, FAR_AWAY)
}

/// Fails unless somebody outside got this answer, and the server's log says which address has asked.
pub(super) fn was_outside(one: &Kept<'_>, answer: &str, from: &str) -> Result<()> {
    if !answer.ends_with("hello\n") {
        return Err(one.differs("\"hello\\n\" for somebody outside", answer));
    }
    let told = wait_for(SOON, || {
        let logs = one.logs()?;
        Ok((logs.error() + &logs.output()).contains(from).then_some(()))
    })?;
    told.with_context(|| format!("the server's log does not have {from}, who has asked"))
}

fn hairpin(lab: &Lab) -> Result<()> {
    let one = server(lab, PUBLISHED, "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?; // it serves
    let words = ["timeout", "10", "wget", "-q", "-O", "-", "http://172.30.0.1:8080/"];
    lab.run(words).finish()?.succeeds()?.prints("hello\n")?;
    lab.says("exec", [&[one.id()], &words[..]].concat(), "hello\n")
}

fn there_only(lab: &Lab) -> Result<()> {
    let one = server(lab, &["-p", "127.0.0.1:8080:80"], "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?;
    let refused = |address: &str| -> Result<()> {
        match answer(address) {
            Ok(text) if !text.is_empty() => Err(one.differs(format!("no answer from {address}"), text)),
            _ => Ok(()),
        }
    };
    refused(&format!("{GATEWAY}:8080"))?;
    let _road = TcpListener::bind("0.0.0.0:7000").context("listening")?;
    let ask = |ready: &dyn Fn()| {
        ready();
        road_from_far_away(UPLINK.parse()?)?;
        Ok(answer(&format!("{UPLINK}:8080")).unwrap_or_default())
    };
    let ((), text) = far_away(ask, || Ok(()))?;
    see::same(one.line(), "what somebody outside gets:", String::new(), text)
}

/// Fails unless the host's port 7000 at this address, where the check listens, can be reached from there.
pub(super) fn road_from_far_away(uplink: IpAddr) -> Result<()> {
    let there = SocketAddr::new(uplink, 7000);
    let open = || Ok(TcpStream::connect_timeout(&there, Duration::from_secs(1)).ok());
    wait_for(SOON, open)?.map(drop).context("there is no way to the host from outside")
}

fn shut(lab: &Lab) -> Result<()> {
    let one = server(lab, PUBLISHED, "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?; // it serves
    let address = end(&one)?.address;
    let _road = TcpListener::bind("0.0.0.0:7000").context("listening")?;
    let ask = |ready: &dyn Fn()| {
        ready();
        road_from_far_away(UPLINK.parse()?)?;
        arrange(&["route", "add", "172.30.0.0/24", "via", UPLINK])?;
        Ok(answer(&format!("{address}:80")).unwrap_or_default())
    };
    let ((), text) = far_away(ask, || Ok(()))?;
    see::same(one.line(), "what somebody gets who knows the way:", String::new(), text)
}

fn lets_go(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // the image is there
    let began = Instant::now();
    let run = lab.kept(["sleep", "12"]).with(["-d"]).with(PUBLISHED);
    let outcome = run.under(["sh", "-c", "\"$@\" 2>&1 | cat", "sh"]).finish()?;
    let took = began.elapsed();
    outcome.succeeds()?;
    let one = lab.only_kept()?;
    see::same(&outcome.line, "to end before the container:", true, took < Duration::from_secs(10))?;
    one.remove()
}

fn taken(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let one = server(lab, PUBLISHED, "hello")?;
    lab.run(["true"]).with(PUBLISHED).finish()?.refuses(&[125])?.mentions("8080")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?;
    // Each at another port: where checks run side by side, one that starts a program has a copy of this listener for a moment.
    for (address, port) in [("127.0.0.1", "9090"), ("0.0.0.0", "9092"), ("[::]", "9093")] {
        let at = format!("{address}:{port}");
        let _listener = TcpListener::bind(&at).with_context(|| format!("listening at {at}"))?;
        let options = ["-p".to_string(), format!("{port}:80")];
        lab.run(["true"]).with(options).finish()?.refuses(&[125])?.mentions(port)?;
    }
    // One of two is taken: neither stays taken.
    lab.run(["true"]).with(["-p", "9091:80", "-p", "8080:81"]).finish()?.refuses(&[125])?;
    is_free("9091")?;
    one.remove()?;
    only_cables("runs whose port is taken", &[])
}

/// Fails unless somebody else can have the port.
fn is_free(port: &str) -> Result<()> {
    let bound = wait_for(SOON, || Ok(TcpListener::bind(format!("0.0.0.0:{port}")).ok()))?;
    bound.map(drop).with_context(|| format!("port {port} is still taken"))
}

fn gone(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // what stays is there
    let before = nft(&["list", "ruleset"])?;
    let nothing = |one: &str| -> Result<()> {
        is_free("8080")?;
        let same = || Ok((nft(&["list", "ruleset"])? == before).then_some(()));
        match wait_for(SOON, same)? {
            Some(()) => Ok(()),
            None => see::same(one, "all rules", before.clone(), nft(&["list", "ruleset"])?),
        }
    };
    let one = server(lab, PUBLISHED, "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?;
    one.remove()?;
    nothing("rm -f")?;

    let two = server(lab, PUBLISHED, "hello")?;
    lab.says("stop", ["-t", "0", two.id()], &format!("{}\n", two.id()))?;
    nothing("stop")?;

    lab.runtime_was_killed();
    let three = server(lab, PUBLISHED, "hello")?;
    answers(&three, "127.0.0.1:8080", "hello\n")?;
    three.keeper()?.signal(Signal::SIGKILL);
    nothing("kill -9 of whoever is the parent of process 1")
}

fn any(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let one = server(lab, &["-p", "80", "-p", "127.0.0.1::80"], "hello")?;
    let outcome = lab.call("port", [one.id()]).finish()?;
    let output = outcome.succeeds()?.output();
    let mut ways = Vec::new();
    for line in output.lines() {
        let way = line.strip_prefix("80/tcp -> ").and_then(|way| way.rsplit_once(':'));
        let (address, port) = way.ok_or_else(|| outcome.differs("80/tcp -> ADDRESS:PORT in each line"))?;
        answers(&one, &format!("127.0.0.1:{port}"), "hello\n")?;
        ways.push(address);
    }
    see::same(&outcome.line, "the addresses:", vec!["0.0.0.0", "[::]", "127.0.0.1"], ways)?;
    let none = lab.kept(["sleep", "1000"]).detach()?;
    lab.says("port", [none.id()], "")?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    lab.refuses("port", [one.id()], "not running")
}

fn inspect(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let one = server(lab, PUBLISHED, "hello")?;
    let End { address, mac } = end(&one)?;
    let known = one.inspected()?;
    let expected = json!({"IPAddress": address, "MacAddress": mac, "Gateway": GATEWAY, "IPPrefixLen": 24,
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]}});
    for (key, value) in expected.as_object().into_iter().flatten() {
        see::same(one.line(), &format!("{key} of NetworkSettings"), value, &known["NetworkSettings"][key])?;
    }
    see::same(one.line(), "NetworkMode", &json!("bridge"), &known["HostConfig"]["NetworkMode"])?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    let known = one.inspected()?;
    let told = (&known["NetworkSettings"]["IPAddress"], &known["NetworkSettings"]["Ports"]);
    see::same(one.line(), "its address and its ports when it has ended", (&json!(""), &json!({})), told)?;
    for network in ["none", "host"] {
        let one = lab.kept(["sleep", "1000"]).with(["--network", network]).detach()?;
        let known = one.inspected()?;
        see::same(one.line(), "NetworkMode", &json!(network), &known["HostConfig"]["NetworkMode"])?;
        see::same(one.line(), "its address", &json!(""), &known["NetworkSettings"]["IPAddress"])?;
    }
    Ok(())
}

fn again(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let one = server(lab, PUBLISHED, "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    is_free("8080")?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    answers(&one, "127.0.0.1:8080", "hello\n")?;
    lab.says("port", [one.id()], "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n")
}

fn restarts(lab: &Lab) -> Result<()> {
    let script = "echo begins; sleep 0.1; exit 1";
    let one = lab.kept(["sh", "-c", script]).with(["--restart", "on-failure:4"]).with(PUBLISHED).detach()?;
    one.exits(1)?;
    one.logs()?.prints("begins\n".repeat(5))?;
    is_free("8080")
}

fn many(lab: &Lab) -> Result<()> {
    let one = server(lab, PUBLISHED, "hello")?;
    answers(&one, "127.0.0.1:8080", "hello\n")?;
    let silent = TcpStream::connect("127.0.0.1:8080").context("connecting")?;
    let all = thread::scope(|scope| {
        // The server's backlog is short: a connection that it drops is made again a second later.
        let ask = || asked("127.0.0.1:8080").or_else(|_| asked("127.0.0.1:8080"));
        let all: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().ok()?.ok()).collect::<Vec<_>>()
    });
    let good = all.iter().flatten().filter(|answer| answer.ends_with("hello\n")).count();
    see::same(one.line(), "of fifty at once, answered:", 50, good)?;
    drop(silent);

    // All of what is said gets there, and that it's all, too.
    let two = lab.kept(["sh", "-c", "nc -l -p 81 | wc -c"]).with(["-p", "8081:81"]).detach()?;
    let listens = "until netstat -ltn | grep -q ':81 '; do sleep 0.1; done";
    lab.says("exec", [two.id(), "timeout", "20", "sh", "-c", listens], "")?;
    let mut stream = TcpStream::connect("127.0.0.1:8081").context("connecting")?;
    stream.write_all(&[b'x'; 1_000_000]).context("saying a megabyte")?;
    stream.shutdown(Shutdown::Write)?;
    two.wrote("1000000\n")
}

fn bad(lab: &Lab) -> Result<()> {
    for port in ["", "x", "0", "65536", "80:", "1:2:3", "8080:0", "127.0.0.1.1:8080:80", "80/icmp"] {
        lab.run(["true"]).with(["-p", port]).finish()?.refuses(&[125])?;
    }
    for network in ["none", "host"] {
        lab.run(["true"]).with(["--network", network, "-p", "8080:80"]).finish()?.refuses(&[125])?;
    }
    Ok(())
}
