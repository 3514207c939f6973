//! The files in /etc by which a command finds names: hosts(5), hostname(5), resolv.conf(5).

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::names::{address, needs_names};
use super::sleeper;
use super::upstream::host_has;
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::images::load;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::oci::{Entry, Image, busybox, host_busybox};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "file-hosts",
        Network,
        "/etc/hosts has localhost, by both protocols, and the container's own address and hostname; afresh at each start.",
        hosts,
    ),
    Check::new("file-hostname", Network, "/etc/hostname is the container's hostname.", hostname),
    Check::new(
        "file-resolv",
        Network,
        "/etc/resolv.conf leads to the container's resolver, with the host's search list, if it has one.",
        resolv,
    ),
    Check::new(
        "file-add-host",
        Network,
        "--add-host NAME:ADDRESS is a line of /etc/hosts, and host-gateway is the host's address on the bridge.",
        add_host,
    ),
    Check::new(
        "file-none-host",
        Network,
        "On the networks none and host, resolv.conf is the host's or --dns; the host's own network has its /etc/hosts, too.",
        none_host,
    ),
    Check::new(
        "file-diff",
        Network,
        "These files are no change of the container's, whether its image has them, or no /etc at all, or neither.",
        diff,
    ),
    Check::new(
        "file-volume-wins",
        Network,
        "-v FILE:/etc/hosts is the container's /etc/hosts, and the same with the other two.",
        volume_wins,
    ),
];

const BEGINNING: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

fn file(lab: &Lab, one: &Kept<'_>, path: &str) -> Result<Outcome> {
    let outcome = lab.call("exec", [one.id(), "cat", path]).finish()?;
    outcome.succeeds()?;
    Ok(outcome)
}

fn hosts(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    let fresh = || -> Result<()> {
        let outcome = file(lab, &one, "/etc/hosts")?;
        let (text, last) = (outcome.output(), format!("\n{}\t{}\n", address(&one)?, one.id()));
        if text.starts_with(BEGINNING) && text.ends_with(&last) {
            return Ok(());
        }
        Err(outcome.differs(format!("{BEGINNING:?} first, and {last:?} last")))
    };
    let again = || -> Result<()> {
        let (id, line) = (one.id(), format!("{}\n", one.id()));
        lab.says("stop", ["-t", "0", id], &line)?;
        lab.says("start", [id], &line)
    };
    fresh()?;
    again()?;
    fresh()?;
    lab.says("exec", [one.id(), "sh", "-c", "echo 10.9.9.9 somebody >> /etc/hosts"], "")?;
    let outcome = file(lab, &one, "/etc/hosts")?;
    let written = outcome.output().contains("\n10.9.9.9 somebody\n");
    see::same(&outcome.line, "what was written there:", true, written)?;
    again()?;
    fresh()?; // its address is another one, perhaps
    let outcome = file(lab, &one, "/etc/hosts")?;
    let stays = outcome.output().contains("somebody");
    see::same(&outcome.line, "what was written before it was started again:", false, stays)?;
    // The command finds it from its beginning.
    let outcome = lab.sh("tail -n 1 /etc/hosts | cut -f 2").with(["--hostname", "inner"]).finish()?;
    outcome.succeeds()?.prints("inner\n").map(drop)
}

fn hostname(lab: &Lab) -> Result<()> {
    lab.run(["cat", "/etc/hostname"])
        .with(["--hostname", "inner"])
        .finish()?
        .succeeds()?
        .prints("inner\n")?;
    let one = sleeper(lab)?;
    file(lab, &one, "/etc/hostname")?.prints(format!("{}\n", one.id()))?;
    let none = ["--network", "none", "--hostname", "inner"];
    lab.run(["cat", "/etc/hostname"]).with(none).finish()?.succeeds()?.prints("inner\n").map(drop)
}

fn resolv(lab: &Lab) -> Result<()> {
    let conf = host_has(lab, "nameserver 127.0.0.9\noptions timeout:1\n")?;
    let shows = |text: &str| -> Result<()> {
        lab.run(["cat", "/etc/resolv.conf"]).finish()?.succeeds()?.prints(text).map(drop)
    };
    shows("nameserver 127.0.0.11\noptions ndots:0\n")?;
    fs::write(&conf, "# search no.example\nsearch one.example two.example\nnameserver 127.0.0.9\n")?;
    shows("nameserver 127.0.0.11\nsearch one.example two.example\noptions ndots:0\n")
}

fn add_host(lab: &Lab) -> Result<()> {
    let options = ["--add-host", "db:10.1.2.3", "--add-host=up.example:host-gateway"];
    let one = lab.kept(["sleep", "1000"]).with(options).detach()?;
    let whole = || -> Result<()> {
        let last = format!("\n10.1.2.3\tdb\n172.30.0.1\tup.example\n{}\t{}\n", address(&one)?, one.id());
        let outcome = file(lab, &one, "/etc/hosts")?;
        if outcome.output().starts_with(BEGINNING) && outcome.output().ends_with(&last) {
            return Ok(());
        }
        Err(outcome.differs(format!("{last:?} last")))
    };
    whole()?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    whole()?;
    // It's what a command finds.
    needs_names(lab)?;
    let outcome =
        lab.sh("ping -c 1 -w 5 up.example | head -n 1 | grep -o '(172.30.0.1)'").with(options).finish()?;
    outcome.prints("(172.30.0.1)\n").map(drop)
}

fn none_host(lab: &Lab) -> Result<()> {
    const CONF: &str = "# the host's\nnameserver 127.0.0.9\nsearch one.example\noptions timeout:1\n";
    host_has(lab, CONF)?;
    for network in ["none", "host"] {
        let run = |path| lab.run(["cat", path]).with(["--network", network]);
        run("/etc/resolv.conf").finish()?.succeeds()?.prints(CONF)?;
        let outcome = run("/etc/resolv.conf").with(["--dns", "127.0.0.3", "--dns", "10.3.3.3"]).finish()?;
        outcome.succeeds()?;
        let text = outcome.output();
        let servers: Vec<_> = text.lines().filter(|line| line.starts_with("nameserver")).collect();
        let expected = vec!["nameserver 127.0.0.3", "nameserver 10.3.3.3"];
        see::same(&outcome.line, "the nameservers:", expected, servers)?;
    }
    let run =
        |network| lab.run(["cat", "/etc/hosts"]).with(["--network", network, "--add-host", "db:10.1.2.3"]);
    let outcome = run("none").finish()?;
    outcome.succeeds()?;
    if !outcome.output().starts_with(BEGINNING) || !outcome.output().ends_with("\n10.1.2.3\tdb\n") {
        return Err(outcome.differs(format!("{BEGINNING:?} first, and the added host last")));
    }
    let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let outcome = run("host").finish()?;
    outcome.succeeds()?;
    let expected: Vec<_> = own.lines().chain(["10.1.2.3\tdb"]).map(str::to_string).collect();
    let lines: Vec<_> = outcome.output().lines().map(str::to_string).collect();
    see::same(&outcome.line, "the host's lines, and the added one:", expected, lines)
}

fn diff(lab: &Lab) -> Result<()> {
    // Without /etc; with one, but without the files; with the files, and one of them a link that leads nowhere.
    let places: Vec<_> = ["bin/", "dev/", "proc/", "sys/"].map(Entry::directory).into();
    let bare = vec![Entry::file("bin/busybox", host_busybox()?).mode(0o755)];
    let full = vec![
        Entry::file("etc/hosts", "the image's\n"),
        Entry::file("etc/hostname", "the image's\n"),
        Entry::symlink("etc/resolv.conf", "../run/not/there"),
    ];
    for (name, layers) in
        [("lab/bare:1", vec![bare]), ("lab/etc:1", vec![busybox()?]), ("lab/full:1", vec![busybox()?, full])]
    {
        let layers = [vec![places.clone()], layers].concat();
        load(lab, &Image::of(&layers)?.says("Env", json!(["PATH=/bin"])), name)?;
        let one = lab.kept(["busybox", "sleep", "1000"]).of(name).detach()?;
        let last = format!("\t{}\n", one.id());
        let hosts = lab.call("exec", [one.id(), "busybox", "cat", "/etc/hosts"]).finish()?;
        see::same(&hosts.line, "its own line in /etc/hosts:", true, hosts.output().ends_with(&last))?;
        lab.says("diff", [one.id()], "")
            .with_context(|| format!("a container of {name}, which changes nothing"))?;
        lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
        lab.says("diff", [one.id()], "").with_context(|| format!("a container of {name} that has ended"))?;
        one.remove()?;
    }
    Ok(())
}

fn volume_wins(lab: &Lab) -> Result<()> {
    let own = lab.path("own");
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::write(&own, format!("the volume's {name}\n"))?;
        let volume = format!("{}:/etc/{name}", own.display());
        let one = lab.kept(["sleep", "1000"]).with(["-v", &volume]).detach()?;
        file(lab, &one, &format!("/etc/{name}"))?.prints(format!("the volume's {name}\n"))?;
        for other in ["hosts", "hostname", "resolv.conf"].into_iter().filter(|other| *other != name) {
            let outcome = file(lab, &one, &format!("/etc/{other}"))?;
            see::same(&outcome.line, "not to be empty:", false, outcome.output().is_empty())?;
        }
        let kept = fs::read_to_string(&own)?;
        see::same(one.line(), "the volume's file to be as it was:", format!("the volume's {name}\n"), kept)?;
        one.remove()?;
    }
    Ok(())
}
