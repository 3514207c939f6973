//! No packet of a check leaves the network that the check has for itself: in a network whose only way out is a wire, all
//! are tried that have to do with networks, and at the wire's other end nothing arrives.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Chapter, part_of};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

/// What is outside. It is killed when it's dropped, and with us.
struct Outside(Child);

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lays the wire from here to the network of process `$1`. By IPv6 the kernel says something by itself when one is up.
const LAY: &str = "set -e
ip link set lo up
ip link add uplink type veth peer name wire netns $1
for end in uplink wire; do
    in=; [ $end = uplink ] || in=\"nsenter --target $1 --net\"
    $in sh -c 'echo 1 > /proc/sys/net/ipv6/conf/$0/disable_ipv6' $end
    $in ip address add 10.99.0.$([ $end = wire ] && echo 1 || echo 2)/24 dev $end
    $in ip link set $end up
done
ip route add default via 10.99.0.1";

impl Outside {
    fn new() -> Result<Outside> {
        let mut sleeper = Command::new("unshare");
        sleeper.args(["--net", "sleep", "1000"]);
        // SAFETY: one system call.
        unsafe { sleeper.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let outside = Outside(sleeper.spawn().context("starting unshare")?);
        // Until it has a network of its own, and sleeps.
        let is_there = || fs::read_to_string(format!("/proc/{}/comm", outside.0.id()));
        while is_there().context("it has ended")? != "sleep\n" {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(outside)
    }

    /// How many packets have arrived.
    fn heard(&self) -> Result<u64> {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", self.0.id()))?;
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix("wire:"));
        let packets = line.and_then(|line| line.split_whitespace().nth(1)).context("there is no wire")?;
        packets.parse().context("the number of packets")
    }
}

fn sh(script: &str, words: &[&str]) -> Result<()> {
    let status = Command::new("bash").args(["-c", script, "bash"]).args(words).status()?;
    ensure!(status.success(), "{script}: {status}");
    Ok(())
}

#[test]
fn nothing_leaves() -> Result<()> {
    if !geteuid().is_root() {
        println!("skipped: only root can make networks");
        return Ok(());
    }
    let lab = Path::new(env!("CARGO_BIN_EXE_lab"));
    let runtime = lab.with_file_name(Chapter::LAST.package());
    ensure!(runtime.is_file(), "{} is not built: cargo build --bins", runtime.display());
    unshare(CloneFlags::CLONE_NEWNET).context("leaving the host's network")?; // this thread's, and its children's
    let outside = Outside::new()?;
    sh(LAY, &[&outside.0.id().to_string()])?;
    ensure!(outside.heard()? == 0, "the wire is not silent");

    let all: Vec<_> =
        lab::checks().filter(|check| check.since >= Chapter::Images).map(|check| check.id).collect();
    let mut command = Command::new(lab);
    command.args(["check", Chapter::LAST.name(), "--runtime"]).arg(&runtime);
    let output = command.args(part_of("LAB_WRONG", &all)?).output()?; // all of them take minutes
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(outside.heard()? == 0, "{} packets have left: {said}", outside.heard()?);

    // And if something did, it would be heard.
    sh("echo > /dev/udp/10.99.0.1/9", &[])?;
    ensure!(outside.heard()? > 0, "the wire is cut");
    Ok(())
}
