//! Network namespaces, and in them what chapter 9 makes, made with ip(8) and nft(8).

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::machine::tool;

/// Whoever is outside of a host, and the host's address on the way there.
const OUTSIDE: &str = "10.99.0.1";
pub(super) const UPLINK: &str = "10.99.0.2";

/// The server's address by hand, in a network that is not one of the chapter's.
pub(super) const SERVER: &str = "172.31.0.2";

/// A network namespace with a loopback device, which is there as long as this is.
pub(super) struct Namespace {
    holder: Child,
}

impl Namespace {
    fn new() -> Result<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo && exec sleep 1000000"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().context("running unshare")?;
        let mut byte = [0];
        let said =
            holder.stdout.as_mut().context("no stdout").and_then(|stdout| {
                std::io::Read::read(stdout, &mut byte).context("waiting for the namespace")
            });
        let namespace = Namespace { holder };
        ensure!(said? == 1, "no network namespace could be made");
        Ok(namespace)
    }

    /// A command in there.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    fn ip(&self, words: &str) -> Result<()> {
        tool::run(self.command("ip").args(words.split(' ')), "ip", "iproute2").map(drop)
    }

    /// A cable from here to there, with an interface at either end.
    fn cable(&self, here: &str, there: &Namespace, other: &str) -> Result<()> {
        let place = there.holder.id();
        self.ip(&format!("link add {here} type veth peer name {other} netns {place}"))?;
        self.ip(&format!("link set {here} up"))?;
        there.ip(&format!("link set {other} up"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A host that nobody shares, and somebody outside of it who has a cable to it.
pub(super) struct Host {
    pub(super) inside: Namespace,
    pub(super) outside: Namespace,
}

impl Host {
    pub(super) fn new() -> Result<Host> {
        let (inside, outside) = (Namespace::new()?, Namespace::new()?);
        inside.cable("uplink", &outside, "eth0")?;
        inside.ip(&format!("address add {UPLINK}/24 dev uplink"))?;
        outside.ip(&format!("address add {OUTSIDE}/24 dev eth0"))?;
        Ok(Host { inside, outside })
    }
}

/// The same network by hand: a bridge, two cables that are plugged in, and a rule that leads a port on.
pub(super) struct ByHand {
    pub(super) host: Host,
    pub(super) server: Namespace,
    pub(super) client: Namespace,
}

impl ByHand {
    pub(super) fn new(port: u16) -> Result<ByHand> {
        let (host, server, client) = (Host::new()?, Namespace::new()?, Namespace::new()?);
        let inside = &host.inside;
        inside.ip("link add br0 type bridge")?;
        inside.ip("address add 172.31.0.1/24 dev br0")?;
        inside.ip("link set br0 up")?;
        for (cable, end, address) in [("server", &server, SERVER), ("client", &client, "172.31.0.3")] {
            inside.cable(cable, end, "eth0")?;
            inside.ip(&format!("link set {cable} master br0"))?;
            end.ip(&format!("address add {address}/24 dev eth0"))?;
            end.ip("route add default via 172.31.0.1")?;
        }
        let mut forward = inside.command("sh");
        forward.args(["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]); // that of the namespace it's in
        tool::run(&mut forward, "sh", "dash")?;
        let rule = format!(
            "table ip nat {{ chain in {{ type nat hook prerouting priority dstnat; \
             tcp dport {port} fib daddr type local dnat to {SERVER}; }}; }}"
        );
        tool::run(inside.command("nft").arg(rule), "nft", "nftables")?;
        Ok(ByHand { host, server, client })
    }
}
