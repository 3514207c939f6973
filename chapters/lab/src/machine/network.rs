//! A network of a check's own: a loopback device, and nothing that leads out. network_namespaces(7).

use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};

use crate::machine::tool;

/// Leaves the host's network. From here on the check, and what it starts, have nothing but a loopback device of their own:
/// they can reach each other, on any port, and nobody else.
pub(crate) fn alone() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network for the check")?;
    tool::run(Command::new("ip").args(["link", "set", "lo", "up"]), "ip", "iproute2").map(drop)
}

/// Does something in such a network, in a thread of its own: the others stay where they are.
pub(crate) fn in_one_alone<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let within = || alone().and_then(|()| work());
    thread::scope(|scope| scope.spawn(within).join()).map_err(|_| anyhow!("the thread panicked"))?
}
