//! The way to others, outside of the host: somebody far away is in a network namespace of his own, with a cable to the host's.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

use super::{arrange, sleeper};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::machine::tool;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "network-out",
        Network,
        "A container reaches somebody outside of the host, who sees the host's address; the host forwards from then on.",
        out,
    ),
    Check::new(
        "network-rules",
        Network,
        "The rules for it are there once, however many containers; other tables are as they were, and --network none makes none.",
        rules,
    ),
];

/// Whoever is far away, and the host's address on the way there.
pub(super) const FAR_AWAY: &str = "10.99.0.1";
pub(super) const UPLINK: &str = "10.99.0.2";

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Somebody far away gets a network, with a cable to the host's, and is `there`, in a thread of his own. When he has said that
/// he's ready, something happens `here`.
pub(super) fn far_away<T, U: Send>(
    there: impl FnOnce(&dyn Fn()) -> Result<U> + Send,
    here: impl FnOnce() -> Result<T>,
) -> Result<(T, U)> {
    thread::scope(|scope| {
        let (told, hears) = mpsc::channel::<Pid>();
        let (lets, begins) = mpsc::channel::<()>();
        let (says, ready) = mpsc::channel::<()>();
        let thread = scope.spawn(move || -> Result<U> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network far away")?;
            told.send(gettid())?;
            begins.recv()?;
            arrange(&["address", "add", &format!("{FAR_AWAY}/24"), "dev", "eth0"])?;
            arrange(&["link", "set", "eth0", "up"])?;
            there(&|| {
                let _ = says.send(()); // whoever waited has failed meanwhile
            })
        });
        // A thread that fails drops its ends, and says why when it is joined.
        if let Ok(place) = hears.recv() {
            let place = place.to_string();
            arrange(&["link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", &place])?;
            arrange(&["address", "add", &format!("{UPLINK}/24"), "dev", "uplink"])?;
            arrange(&["link", "set", "uplink", "up"])?;
            lets.send(())?;
        }
        let done = if ready.recv().is_ok() { Some(here()?) } else { None };
        let said = thread.join().ok().context("a thread panicked")??;
        Ok((done.context("nobody was ready far away")?, said))
    })
}

/// Answers one question. Returns who has asked.
fn answer_one(ready: &dyn Fn()) -> Result<Option<IpAddr>> {
    let listener = TcpListener::bind((FAR_AWAY, 80)).context("listening far away")?;
    listener.set_nonblocking(true)?;
    ready();
    let Some((mut stream, from)) = wait_for(SOON, || Ok(listener.accept().ok()))? else { return Ok(None) };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let _ = stream.read(&mut [0; 1024])?;
    stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nfar away\n")?;
    Ok(Some(from.ip()))
}

fn out(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?; // the image is there
    fs::write(FORWARD, "0").with_context(|| format!("writing {FORWARD}, in the check's own network"))?;
    let words = ["timeout", "10", "wget", "-q", "-O", "-", "http://10.99.0.1/"];
    let (outcome, seen) = far_away(answer_one, || lab.run(words).finish())?;
    outcome.succeeds()?.prints("far away\n")?;
    let seen = seen.map(|address| address.to_string());
    see::same(&outcome.line, "who has asked, as seen from there:", Some(UPLINK.to_string()), seen)?;
    see::same(&outcome.line, FORWARD, "1\n".to_string(), fs::read_to_string(FORWARD)?)
}

/// What nft(8) prints.
pub(crate) fn nft(words: &[&str]) -> Result<String> {
    let printed = tool::run(Command::new("nft").args(words), "nft", "nftables")?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

fn rules(lab: &Lab) -> Result<()> {
    nft(&["add table ip others; add chain ip others c { type filter hook forward priority 0; }; \
           add rule ip others c ip daddr 192.168.77.1 drop; add table inet byhand0; add table ip byhand"])?;
    let before = nft(&["list", "ruleset"])?;
    let none = lab.run(["true"]).with(["--network", "none"]).finish()?;
    none.succeeds()?;
    see::same(&none.line, "all rules", before.clone(), nft(&["list", "ruleset"])?)?;

    let one = sleeper(lab)?;
    let after_one = nft(&["list", "ruleset"])?;
    see::same(one.line(), "rules that masquerade:", 1, after_one.matches("masquerade").count())?;
    for _ in 0..2 {
        lab.run(["true"]).finish()?.succeeds()?;
    }
    one.remove()?;
    see::same("two more containers, and their end", "all rules", &after_one, &nft(&["list", "ruleset"])?)?;
    for table in [&["list", "table", "ip", "others"][..], &["list", "table", "inet", "byhand0"]] {
        let is_there = before.contains(&nft(table)?);
        see::same(format!("nft {}", table.join(" ")), "to be as it was:", true, is_there)?;
    }
    Ok(())
}
