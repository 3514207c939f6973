//! Ports that a container says it has, by `--expose` or by its image, and all of them published: `-P`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};

use anyhow::{Context, Result};
use serde_json::json;

use super::ports::answers;
use super::publishing::three;
use super::udp::{Echo, answer, asks};
use super::{server, start, stop};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::images::load;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::oci::{Image, busybox};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "port-expose",
        Network,
        "--expose publishes nothing; ps shows the port as 80/tcp while the container runs.",
        expose,
    ),
    Check::new(
        "port-all",
        Network,
        "-P publishes each port of --expose at a free one of the host, again after start, but for those of -p.",
        all,
    ),
    Check::new(
        "port-all-image",
        Network,
        "-P publishes what the image exposes, too, be it loaded or committed; without -P nothing is published.",
        of_image,
    ),
];

/// What `ps` shows of its ports. Without IPv6 a port has one address.
fn shown(one: &Kept<'_>) -> Result<BTreeSet<String>> {
    let listed = one.listed()?.unwrap_or_default();
    let ports = listed["Ports"].as_str().unwrap_or("no text").to_string();
    Ok(ports.split(", ").filter(|port| !port.starts_with("[::]:")).map(str::to_string).collect())
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn expose(lab: &Lab) -> Result<()> {
    let words = ["--expose", "80", "--expose=99/udp", "-p", "8081:81"];
    let one = server(lab, &words, "hello")?;
    see::same(one.line(), "PORTS in ps:", set(&["80/tcp", "99/udp", "0.0.0.0:8081->81/tcp"]), shown(&one)?)?;
    for address in ["0.0.0.0:80", "[::]:80"] {
        // Without IPv6 it's an error of another kind.
        let taken = TcpListener::bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        see::same(one.line(), &format!("somebody to be at {address} of the host:"), false, taken)?;
    }
    let outcome = lab.call("port", [one.id()]).finish()?;
    if outcome.succeeds()?.output().lines().any(|line| !line.starts_with("81/tcp -> ")) {
        return Err(outcome.differs("81/tcp only"));
    }
    stop(lab, &one)?;
    see::same(one.line(), "PORTS in ps when it has ended:", set(&[""]), shown(&one)?)?;
    for port in ["", "x", "0", "65536", "82-80", "80/icmp", "80:80", "80-"] {
        lab.run(["true"]).with(["--expose", port]).finish()?.refuses(&[125])?.mentions(port)?;
    }
    Ok(())
}

/// What `port` tells: of each port of the container, those of the host at all its addresses by IPv4.
fn published(lab: &Lab, one: &Kept<'_>) -> Result<Vec<(String, u16)>> {
    let outcome = lab.call("port", [one.id()]).finish()?;
    let lines = outcome.succeeds()?.output();
    let mut ways = Vec::new();
    for line in lines.lines() {
        let way = line.split_once(" -> ").and_then(|(inside, host)| Some((inside, host.rsplit_once(':')?)));
        let Some((inside, (address, host))) = way else {
            return Err(outcome.differs("80/tcp -> ADDRESS:PORT in each line"));
        };
        if address == "0.0.0.0" {
            ways.push((inside.to_string(), host.parse()?));
        }
    }
    ways.sort();
    Ok(ways)
}

/// Fails unless these ports of the container are published, and no others.
fn only_published(lab: &Lab, one: &Kept<'_>, expected: &[&str]) -> Result<Vec<u16>> {
    let (inside, host): (Vec<_>, Vec<_>) = published(lab, one)?.into_iter().unzip();
    see::same(
        one.line(),
        "the ports that port tells:",
        expected,
        &inside.iter().map(String::as_str).collect::<Vec<_>>()[..],
    )?;
    Ok(host)
}

fn all(lab: &Lab) -> Result<()> {
    let words = ["-P", "--expose", "80-81", "--expose", "82", "-p", "8082:82", "--expose", "99/udp"];
    let one = three(lab, &words)?;
    let serve = || -> Result<Vec<u16>> {
        let hosts = only_published(lab, &one, &["80/tcp", "81/tcp", "82/tcp", "99/udp"])?;
        see::same(one.line(), "the host's port for 82/tcp:", 8082, hosts[2])?;
        for (host, says) in hosts.iter().zip(["port 80\n", "port 81\n", "port 82\n"]) {
            answers(&one, &format!("127.0.0.1:{host}"), says)?;
        }
        let echo = Echo::start(&one, "heard ")?;
        let heard = answer(&asks("127.0.0.1", &format!("127.0.0.1:{}", hosts[3]))?, "one")?;
        drop(echo);
        see::same(one.line(), "an answer by UDP:", "heard one".to_string(), heard)?;
        Ok(hosts)
    };
    let hosts = serve()?;
    stop(lab, &one)?;
    let free = || {
        let tcp = hosts[..3].iter().all(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
        Ok((tcp && UdpSocket::bind(("0.0.0.0", hosts[3])).is_ok()).then_some(()))
    };
    wait_for(SOON, free)?
        .with_context(|| format!("not all of these ports are free after stop: {hosts:?}"))?;
    start(lab, &one)?;
    serve()?;
    let none = lab.kept(["sleep", "1000"]).with(["--publish-all"]).detach()?;
    only_published(lab, &none, &[]).map(drop)
}

fn of_image(lab: &Lab) -> Result<()> {
    const NAME: &str = "lab/exposes:1";
    let exposed = json!({"80/tcp": {}, "99/udp": {}});
    load(lab, &Image::of(&[busybox()?])?.says("ExposedPorts", exposed), NAME)?;
    let of = |image, options: &[&str]| {
        let script = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
        lab.kept(["sh", "-c", script]).with(options).of(image).detach()
    };
    let one = of(NAME, &["-P", "--expose", "81"])?;
    let hosts = only_published(lab, &one, &["80/tcp", "81/tcp", "99/udp"])?;
    answers(&one, &format!("127.0.0.1:{}", hosts[0]), "hello\n")?;
    let two = of(NAME, &["-P", "-p", "8080:80"])?;
    let hosts = only_published(lab, &two, &["80/tcp", "99/udp"])?;
    see::same(two.line(), "the host's port for 80/tcp:", 8080, hosts[0])?;
    only_published(lab, &of(NAME, &[])?, &[])?;
    lab.call("commit", ["-c", "EXPOSE 82", one.id(), "lab/exposes:2"]).finish()?.succeeds()?;
    only_published(lab, &of("lab/exposes:2", &["-P"])?, &["80/tcp", "82/tcp", "99/udp"]).map(drop)
}
