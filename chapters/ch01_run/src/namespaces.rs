//! What a container has of its own, and who may make it: namespaces(7), uts_namespaces(7), capabilities(7).

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use log::debug;
use nix::sched::CloneFlags;
use nix::unistd::{geteuid, sethostname};

/// The namespaces of a container: its mounts, its hostname, its IPC objects, its process ids, its network.
pub const OWN: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET);

/// Says early and plainly what clone(2) and mount(2) would say with EPERM.
pub fn require_root() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "not root: only root makes namespaces and mounts; use sudo, or `cargo run`, which does so itself"
    );
    Ok(())
}

/// Sets the hostname of this UTS namespace; at most 64 bytes.
pub fn set_hostname(name: &OsStr) -> Result<()> {
    debug!("sethostname({name:?})");
    sethostname(name).with_context(|| format!("setting the hostname to {name:?} (at most 64 bytes)"))
}
