//! A network of a check's own: a loopback device, and nothing that leads out. network_namespaces(7).

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::see::cannot_run;

/// Leaves the host's network. From here on the check, and what it starts, have nothing but a loopback device of their own:
/// they can reach each other, on any port, and nobody else.
pub(crate) fn alone() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network for the check")?;
    let mut ip = Command::new("ip");
    let status = ip.args(["link", "set", "lo", "up"]).status();
    let status = status.map_err(|error| cannot_run(format!("there is no ip (package iproute2): {error}")))?;
    ensure!(status.success(), "ip link set lo up: {status}");
    Ok(())
}
