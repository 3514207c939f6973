//! What a container is connected to, and how.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::{Context, Result};

use super::ports::PUBLISHED;
use super::{
    BRIDGE, End, GATEWAY, asked, cables, end, interfaces, ip, no_bridge, number, only_cables, server, sleeper,
};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "network-cable",
        Network,
        "A container has eth0, which is up and has an address of the bridge's network, and its default route is the host's bridge.",
        cable,
    ),
    Check::new("network-lo", Network, "lo is up in the container, whatever network it is on.", loopback),
    Check::new(
        "network-reach",
        Network,
        "Two containers reach each other by their addresses, and the host reaches them.",
        reach,
    ),
    Check::new(
        "network-none",
        Network,
        "With --network none the container has nothing but lo, and nothing is made on the host.",
        none,
    ),
    Check::new(
        "network-host",
        Network,
        "With --network host the container has the host's own network.",
        host,
    ),
    Check::new(
        "network-unknown",
        Network,
        "A network that there is not is refused with 125 and its name, and nothing stays.",
        unknown,
    ),
    Check::new(
        "network-name",
        Network,
        "The cable's name on the host says the container's address, and it is plugged into the bridge.",
        name,
    ),
    Check::new(
        "network-mac",
        Network,
        "The hardware address of eth0 is made of its address: 02:42, and then its four numbers.",
        mac,
    ),
    Check::new(
        "network-gone",
        Network,
        "When a container ends, its cable is gone: by rm -f, and after a kill -9 of run, of the keeper, of the command.",
        gone,
    ),
    Check::new(
        "network-localhost",
        Network,
        "What listens at the host's 127.0.0.1 only is not reached by a container, whatever it does to its own network.",
        localhost,
    ),
    Check::new(
        "network-again",
        Network,
        "A container that is started again is on its network again, and so is one that restarts.",
        again,
    ),
];

fn cable(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    end(&one)?;
    let links = ip(Some(one.process()?), &["link", "show", "dev", "eth0", "up"])?;
    see::same(one.line(), "interfaces eth0 that are up:", 1, links.len())?;
    let routes = ip(Some(one.process()?), &["route", "show", "default"])?;
    let ways: Vec<_> =
        routes.iter().map(|route| (route["gateway"].as_str(), route["dev"].as_str())).collect();
    see::same(one.line(), "the default routes:", vec![(Some(GATEWAY), Some("eth0"))], ways)
}

fn loopback(lab: &Lab) -> Result<()> {
    for network in ["bridge", "none"] {
        let script = "ping -c 1 -w 10 127.0.0.1 > /dev/null && echo an answer";
        lab.sh(script).with(["--network", network]).finish()?.succeeds()?.prints("an answer\n")?;
    }
    Ok(())
}

fn reach(lab: &Lab) -> Result<()> {
    let (one, two) = (server(lab, &[], "one")?, server(lab, &[], "two")?);
    let ends = [end(&one)?, end(&two)?];
    for (from, to, says) in [(&one, &ends[1], "two\n"), (&two, &ends[0], "one\n"), (&one, &ends[0], "one\n")]
    {
        // Until the server listens.
        let script = format!(
            "for i in $(seq 100); do wget -q -O - http://{}/ 2> /dev/null && break; sleep 0.1; done",
            to.address
        );
        lab.says("exec", [from.id(), "sh", "-c", &script], says)?;
    }
    for (to, says) in ends.iter().zip(["one\n", "two\n"]) {
        let answer = asked(&format!("{}:80", to.address))?;
        if !answer.ends_with(says) {
            return Err(one.differs(format!("the host to be answered {says:?} by {}", to.address), answer));
        }
    }
    Ok(())
}

fn none(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--network", "none"]).detach()?;
    let links = ip(Some(one.process()?), &["link", "show", "up"])?;
    see::same(one.line(), "interfaces that are up:", 1, links.len())?;
    let inside = interfaces(Some(one.process()?))?;
    if inside.iter().any(|name| name.starts_with("eth")) {
        return Err(one.differs("no interface but what a new network namespace has", format!("{inside:?}")));
    }
    no_bridge(one.line())
}

/// The network that this check has for itself, and that its runtime takes for the host's.
fn own_namespace() -> Result<String> {
    let link = fs::read_link("/proc/thread-self/ns/net").context("looking at the network namespace")?;
    Ok(link.display().to_string())
}

fn host(lab: &Lab) -> Result<()> {
    let ours = own_namespace()?;
    let outcome = lab.run(["readlink", "/proc/self/ns/net"]).with(["--network", "host"]).finish()?;
    outcome.succeeds()?.prints(format!("{ours}\n"))?;
    see::same(&outcome.line, "cables:", Vec::<String>::new(), cables()?)
}

fn unknown(lab: &Lab) -> Result<()> {
    for name in ["no-such-network", "", "Bridge", "none,host"] {
        let outcome = lab.run(["true"]).with(["--network", name]).finish()?;
        outcome.refuses(&[125])?.mentions(if name.is_empty() { "network" } else { name })?;
    }
    let did = "runs on networks that there are not";
    only_cables(did, &[])?;
    no_bridge(did)
}

fn name(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    let number = number(&end(&one)?.address).context("it has a number")?;
    let plugged = ip(None, &["link", "show", "master", BRIDGE])?;
    let names: Vec<_> = plugged.iter().filter_map(|link| link["ifname"].as_str()).collect();
    see::same(one.line(), "what is plugged into the bridge:", vec![&*format!("{BRIDGE}-{number}")], names)
}

fn mac(lab: &Lab) -> Result<()> {
    for _ in 0..2 {
        let one = sleeper(lab)?;
        let End { address, mac } = end(&one)?;
        let number = number(&address).context("it has a number")?;
        see::same(one.line(), "the hardware address:", format!("02:42:ac:1e:00:{number:02x}"), mac)?;
    }
    Ok(())
}

fn gone(lab: &Lab) -> Result<()> {
    let stays = sleeper(lab)?;
    let own = cables()?;
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    see::same(stays.line(), "cables:", 1, own.len())?;

    let removed = sleeper(lab)?;
    see::same(removed.line(), "cables:", 2, cables()?.len())?;
    removed.remove()?;
    only_cables("rm -f", &own)?;

    let ended = sleeper(lab)?;
    ended.process()?.signal(nix::sys::signal::Signal::SIGKILL);
    ended.exits(137)?;
    only_cables("kill -9 of the command", &own)?;

    lab.runtime_was_killed();
    let left = sleeper(lab)?;
    left.keeper()?.signal(nix::sys::signal::Signal::SIGKILL);
    only_cables("kill -9 of whoever is the parent of process 1", &own)?;

    let mut run = lab.run(["sleep", "1000"]).start()?;
    run.container()?;
    run.kill_whole()?;
    only_cables("kill -9 of run", &own)?;
    // Nothing of it was anybody else's.
    end(&stays).map(drop)
}

/// CVE-2020-8558: a host whose bridge may route what is for 127.0.0.1 takes it from a container as from itself.
fn localhost(lab: &Lab) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:9999").context("listening at 127.0.0.1")?;
    listener.set_nonblocking(true)?;
    // Without an address of its own, 127.0.0.0/8 is a network like any other.
    let script = "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet; ip address flush dev lo; ip route add 127.0.0.0/8 via 172.30.0.1 dev eth0 &&
        timeout 3 wget -q -O - http://127.0.0.1:9999/ 2> /dev/null; echo the end";
    let outcome = lab.sh(script).with(PUBLISHED).finish()?;
    outcome.succeeds()?.prints("the end\n")?;
    match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        accepted => {
            Err(outcome.differs(format!("nobody at the host's 127.0.0.1:9999, and not {accepted:?}")))
        }
    }
}

fn again(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    end(&one)?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    only_cables("stop", &[])?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    end(&one)?;

    let none = lab.kept(["sleep", "1000"]).with(["--network", "none"]).detach()?;
    lab.says("stop", ["-t", "0", none.id()], &format!("{}\n", none.id()))?;
    lab.says("start", [none.id()], &format!("{}\n", none.id()))?;
    let inside = interfaces(Some(none.process()?))?;
    see::same(none.line(), "eth0 to be there:", false, inside.iter().any(|name| name == "eth0"))?;

    let host = lab.kept(["readlink", "/proc/self/ns/net"]).with(["--network", "host"]).detach()?;
    host.exits(0)?;
    lab.says("start", [host.id()], &format!("{}\n", host.id()))?;
    host.exits(0)?;
    let logs = host.logs()?.output();
    let lines: Vec<_> = logs.lines().collect();
    let ours = own_namespace()?;
    see::same(host.line(), "its network, each time:", vec![&*ours, &*ours], lines)?;

    let script = "ip -4 -o address show eth0 | grep -c 172.30.0; sleep 0.1; exit 1";
    let restarts = lab.kept(["sh", "-c", script]).with(["--restart", "on-failure:2"]).detach()?;
    restarts.exits(1)?;
    restarts.logs()?.prints("1\n1\n1\n").map(drop)
}
