//! A network of a check's own: a loopback device, and nothing that leads out. network_namespaces(7).

use std::process::Command;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use crate::machine::tool;

/// Leaves the host's network. From here on the check, and what it starts, have nothing but a loopback device of their own:
/// they can reach each other, on any port, and nobody else.
pub(crate) fn alone() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network for the check")?;
    tool::run(Command::new("ip").args(["link", "set", "lo", "up"]), "ip", "iproute2").map(drop)
}
