//! Containers that have no network of their own, but another one's: `--network container:NAME`.

use std::fs;

use anyhow::Result;

use super::names::{cable, named};
use super::networks::make;
use super::{asked, end, only_cables, server, sleeper, start, stop};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-shared",
        Network,
        "--network container:NAME is that container's network, loopback and all, for exec, too; names are found as there.",
        shares,
    ),
    Check::new(
        "net-shared-start",
        Network,
        "A start goes to the same container's network, whatever it's called by then; if that one doesn't run, it's refused.",
        starts,
    ),
    Check::new(
        "net-shared-bad",
        Network,
        "A network of a container that isn't there or doesn't run is refused, and so are ports, addresses and names for it.",
        bad,
    ),
];

/// Whether a container's network is that of another one.
fn must_be_in(one: &Kept<'_>, other: &Kept<'_>) -> Result<()> {
    let [own, others] = [one.process()?.namespace("net")?, other.process()?.namespace("net")?];
    see::same(one.line(), "the network namespace of the other container:", others, own)
}

fn shares(lab: &Lab) -> Result<()> {
    let web = server(lab, &["--name", "web", "--network-alias", "shop"], "hello")?;
    let address = end(&web)?.address;
    asked(&format!("{address}:80"))?; // it serves
    let side = lab.kept(["sleep", "1000"]).with(["--network", "container:web", "--add-host", "far:10.1.2.3"]);
    let side = side.detach()?;
    must_be_in(&side, &web)?;
    let cable = cable(&address);
    only_cables(side.line(), &[&cable])?;
    let fetched = lab.call("exec", [side.id(), "wget", "-q", "-O", "-", "http://localhost/"]).finish()?;
    see::same(
        &fetched.line,
        "the other's web server at localhost:",
        "hello\n",
        fetched.succeeds()?.output().as_str(),
    )?;
    for name in ["shop", side.id()] {
        let found = lab.call("exec", [side.id(), "ping", "-c", "1", "-q", name]).finish()?;
        if !found.succeeds()?.output().starts_with(&format!("PING {name} ({address})")) {
            return Err(found.differs(format!("an answer of {address}")));
        }
    }
    let hosts = fs::read_to_string(side.process()?.path("/etc/hosts"))?;
    if !hosts.lines().any(|line| line == "10.1.2.3\tfar") {
        return Err(side.differs("a line \"10.1.2.3\\tfar\" in /etc/hosts", hosts));
    }
    let third = lab.kept(["sleep", "1000"]).with([format!("--network=container:{}", side.id())]).detach()?;
    must_be_in(&third, &web)?;
    let asks = fs::read_to_string(third.process()?.path("/etc/resolv.conf"))?;
    see::same(third.line(), "its /etc/resolv.conf to name 127.0.0.11:", true, asks.contains("127.0.0.11"))?;
    let known = side.inspected()?;
    let mode = format!("container:{}", web.id());
    see::same(side.line(), "NetworkMode", Some(mode.as_str()), known["HostConfig"]["NetworkMode"].as_str())?;
    // Whoever stays keeps the network, and with the last one it goes.
    stop(lab, &web)?;
    only_cables("the end of the first of three in one network", &[&cable])?;
    stop(lab, &side)?;
    stop(lab, &third)?;
    only_cables("the end of the last of them", &[])?;

    let none = lab.kept(["sleep", "1000"]).with(["--network", "none"]).detach()?;
    let alone = lab.kept(["sleep", "1000"]).with([format!("--network=container:{}", none.id())]).detach()?;
    must_be_in(&alone, &none)
}

fn starts(lab: &Lab) -> Result<()> {
    let web = named(lab, "web", &[])?;
    let side = named(lab, "side", &["--network", "container:web"])?;
    stop(lab, &side)?;
    lab.says("rename", ["web", "other"], "")?;
    let _impostor = named(lab, "web", &[])?;
    start(lab, &side)?;
    must_be_in(&side, &web)?;
    stop(lab, &side)?;
    stop(lab, &web)?;
    lab.refuses("start", [side.id()], web.id())?;
    see::same(side.line(), "its state, while the other doesn't run:", "exited", side.state()?.as_str())?;
    start(lab, &web)?;
    start(lab, &side)?;
    must_be_in(&side, &web)
}

fn bad(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    let web = named(lab, "web", &[])?;
    let ended = sleeper(lab)?;
    stop(lab, &ended)?;
    let cable = cable(&end(&web)?.address);
    only_cables("the end of the other one", &[&cable])?;
    let has_ended = format!("container:{}", ended.id());
    for (network, says) in
        [("container:nobody", "nobody"), (&has_ended, ended.id()), ("container:", "--network")]
    {
        let run = lab.run(["true"]).with(["--network", network]).finish()?;
        run.refuses(&[125])?.mentions(says)?;
    }
    for option in [
        "-p=80",
        "--ip=172.30.0.9",
        "--mac-address=02:42:00:00:00:09",
        "--network-alias=shop",
        "--network=one",
        "--dns=10.1.2.3",
    ] {
        lab.run(["true"]).with(["--network", "container:web", option]).finish()?.refuses(&[125])?;
    }
    let side = named(lab, "side", &["--network", "container:web"])?;
    lab.refuses("network", ["connect", "one", "side"], "side")?;
    lab.refuses("network", ["disconnect", "bridge", "side"], "side")?;
    must_be_in(&side, &web)?;
    only_cables("runs with bad words for --network container:", &[&cable])
}
