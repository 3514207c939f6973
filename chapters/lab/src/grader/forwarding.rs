//! Whether packets get through this machine: rules of others may drop what containers send, and what is sent to them. Found
//! out by sending some. network_namespaces(7), veth(4), ip(7), nft(8).

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::machine::tool::in_path;
use crate::see::wait_for;

/// The host's ends of two cables. Rules go by such names: one begins as our bridges do, the other is nobody's. There are
/// no two of one name, so of two doctors one goes without the try.
const INSIDE: &str = "byhand-try";
const OUTSIDE: &str = "outside-try";

/// What the addresses of private networks begin with: two that the host has no way to are taken.
const NETWORKS: [&str; 6] =
    ["172.30.255", "172.30.254", "192.168.255", "192.168.254", "10.255.255", "10.255.254"];

/// Where each of the two answers, and which port the host sends on.
const PORT: u16 = 8080;

/// How often is asked, and for how long an answer is waited for each time.
const TIMES: u32 = 10;
const PATIENCE: Duration = Duration::from_millis(100);

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What came of it.
pub(super) struct Tried {
    /// Whether a container reaches somebody outside.
    pub(super) out: bool,
    /// Whether somebody outside reaches a container by a port of the host, unless that could not be tried.
    pub(super) into: Result<bool>,
    /// Whether the host forwards for everybody already.
    pub(super) forwards: bool,
}

/// Lets two that are no neighbours talk through the host. Nothing of it stays, even if this is killed: a namespace ends with
/// the last socket in it, a cable with the namespace of one end, and a table that has an owner with its owner.
pub(super) fn attempt() -> Result<Tried> {
    let mut free = NETWORKS.into_iter().filter(|network| is_free(network));
    let (Some(inside), Some(outside)) = (free.next(), free.next()) else {
        bail!("the host has a way to nearly all of {}", NETWORKS.join(", "));
    };
    let container = Somebody::behind(INSIDE, inside)?;
    let client = Somebody::behind(OUTSIDE, outside)?;
    let out = reaches(&container.asks, client.answers.local_addr()?, &client.answers);
    let host = format!("{outside}.1:{PORT}").parse()?;
    let published = Redirection::new(host, container.answers.local_addr()?);
    let into = published.map(|_there| reaches(&client.asks, host, &container.answers));
    let forwards = fs::read_to_string(FORWARD).with_context(|| format!("reading {FORWARD}"))?;
    Ok(Tried { out, into, forwards: forwards.trim() != "0" })
}

/// Whether the host has no other way there than the one to everywhere.
fn is_free(network: &str) -> bool {
    let way = call("ip", &["-o", "route", "get", "fibmatch", &format!("{network}.2")]);
    way.map_or_else(|error| format!("{error:#}").contains("unreachable"), |way| way.starts_with("default"))
}

/// Somebody with a network of his own, and a cable to the host's.
struct Somebody {
    asks: UdpSocket,
    answers: UdpSocket,
    cable: &'static str,
}

impl Somebody {
    fn behind(cable: &'static str, network: &str) -> Result<Somebody> {
        let (host, own) = (format!("{network}.1"), format!("{network}.2"));
        let there = || -> Result<Somebody> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a new network namespace")?;
            let us = std::process::id().to_string(); // of whom only this thread is in there
            call("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", cable, "netns", &us])?;
            call("ip", &["address", "add", &format!("{own}/24"), "dev", "eth0"])?;
            call("ip", &["link", "set", "eth0", "up"])?;
            call("ip", &["route", "add", "default", "via", &host])?;
            let socket = |port| -> Result<UdpSocket> {
                let socket = UdpSocket::bind((own.as_str(), port)).context("cannot make a socket")?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(socket)
            };
            Ok(Somebody { asks: socket(0)?, answers: socket(PORT)?, cable })
        };
        let made = thread::scope(|scope| scope.spawn(there).join());
        let made = made.unwrap_or_else(|_| Err(anyhow!("the attempt panicked")))?;
        call("ip", &["address", "add", &format!("{host}/24"), "dev", cable])?;
        call("ip", &["link", "set", cable, "up"])?;
        // For what comes by this cable only: whether the host forwards for others is not the doctor's business.
        let file = format!("/proc/sys/net/ipv4/conf/{cable}/forwarding");
        fs::write(&file, "1").with_context(|| format!("writing 1 to {file}"))?;
        Ok(made)
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        // Without this, the kernel takes it away a moment later.
        let _ = call("ip", &["link", "delete", self.cable]);
    }
}

/// A port of the host's is the container's, as if it were published: this changes the address of what comes in, and rules
/// may let that through and nothing else. The table is nft's own, and nft ends with its input, which ends with us.
struct Redirection(Child);

impl Redirection {
    fn new(from: SocketAddr, to: SocketAddr) -> Result<Redirection> {
        let program = in_path("nft").context("there is no nft")?;
        let mut nft = Command::new(program);
        nft.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let nft = Redirection(nft.spawn().context("starting nft")?);
        let (table, port) = (INSIDE, from.port());
        let mut lines = nft.0.stdin.as_ref().context("nft has no input")?;
        writeln!(
            lines,
            "add table ip {table} {{ flags owner; }}\n\
             add chain ip {table} in {{ type nat hook prerouting priority -100; }}\n\
             add rule ip {table} in iifname {OUTSIDE} ip daddr {} udp dport {port} dnat to {to}",
            from.ip()
        )
        .context("telling nft")?;
        let is_there =
            || Ok(call("nft", &["list", "table", "ip", table]).ok().filter(|it| it.contains("dnat")));
        let made = wait_for(Duration::from_secs(5), is_there)?;
        made.map(|_| nft).context("nft makes no table with an owner")
    }
}

impl Drop for Redirection {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Whether a question gets there, and an answer back. Not a ping: ufw lets those through, and nothing else.
fn reaches(from: &UdpSocket, to: SocketAddr, at: &UdpSocket) -> bool {
    let mut bytes = [0; 16];
    for _ in 0..TIMES {
        let _ = from.send_to(b"?", to); // whatever goes wrong, there is no answer then
        let Ok((_, asker)) = at.recv_from(&mut bytes) else { continue };
        let _ = at.send_to(b"!", asker);
        if from.recv_from(&mut bytes).is_ok() {
            return true;
        }
    }
    false
}

/// What to type so that packets of ours get through, wherever on this machine they may be dropped: a rule that accepts them
/// has to be there, for a packet that any chain drops is gone. It names all of our bridges, and neither address nor port:
/// what nobody has published, our own rules keep out.
pub(super) fn advice() -> String {
    let by_iptables = of_iptables();
    let chains = call("nft", &["-j", "list", "chains"]).ok();
    let chains: Value = chains.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let chains = chains["nftables"].as_array().into_iter().flatten().map(|one| &one["chain"]);
    let word = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_string();
    let mut all: Vec<_> = by_iptables.iter().cloned().collect();
    for chain in chains.clone() {
        let place = ["family", "table", "name"].map(|key| word(chain, key)).join(" ");
        let drops = word(chain, "hook") == "forward" && word(chain, "policy") == "drop";
        let is_ours_to_tell = ["ip ", "inet "].iter().any(|family| place.starts_with(family));
        if drops && is_ours_to_tell && !(by_iptables.is_some() && place == "ip filter FORWARD") {
            let rule = |which| format!("insert rule {place} {which} \"byhand*\" accept");
            all.push(format!("nft '{}; {}'", rule("iifname"), rule("oifname")));
        }
    }
    // Its chain has no such policy: it ends with a rule that rejects.
    if chains.clone().any(|chain| chain["table"] == "firewalld") {
        all.push("firewall-cmd --zone=trusted --add-interface=byhand+".to_string());
    }
    if all.is_empty() {
        all.push("find the rule that drops them: nft list ruleset, iptables -S".to_string());
    }
    all.join(" && ")
}

/// The same for the chain FORWARD of iptables. Docker leaves a chain for rules of others, which comes first, and ufw has a
/// command of its own, without which a rule is gone when it is started again.
fn of_iptables() -> Option<String> {
    let rules = call("iptables", &["-S", "FORWARD"]).ok()?;
    let has = |words: &str| rules.lines().any(|line| line.starts_with("-A FORWARD") && line.contains(words));
    if !rules.starts_with("-P FORWARD DROP") && !has("-j DROP") && !has("-j REJECT") {
        return None;
    }
    if has("-j ufw-") && !has("-j DOCKER-USER") {
        return Some("ufw route allow in on byhand+ && ufw route allow out on byhand+".to_string());
    }
    let chain = if has("-j DOCKER-USER") { "DOCKER-USER" } else { "FORWARD" };
    let rule = |which| format!("iptables -I {chain} {which} byhand+ -j ACCEPT");
    Some(format!("{} && {}", rule("-i"), rule("-o")))
}

/// Has a program do something, and returns what it prints. An error is one line.
fn call(program: &str, words: &[&str]) -> Result<String> {
    let path = in_path(program).with_context(|| format!("there is no {program}"))?;
    let output = Command::new(path).args(words).output().with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it failed without a word");
    ensure!(output.status.success(), "{program} {}: {first}", words.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
