//! A host of its own for each check: the mount table and the hostname are copies that go away with it.
//!
//! Whatever a runtime does to them, the real host does not notice. `/` is shared there, as systemd has
//! it on most machines: the hard case, in which a forgotten `MS_PRIVATE` shows.

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

use crate::machine::mounts::{self, Mount, propagation};
use crate::see;

/// Runs `work` in a thread that has its own mount and UTS namespaces. Programs that it starts inherit
/// them, and are this host's processes.
pub(crate) fn of_its_own<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let thread = || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("making a host for the check")?;
        // Private first: else "shared" would go on meaning shared with the real host.
        propagation(MsFlags::MS_PRIVATE)?;
        propagation(MsFlags::MS_SHARED)?;
        work()
    };
    thread::scope(|scope| scope.spawn(thread).join()).unwrap_or_else(|_| Err(anyhow!("the check panicked")))
}

/// What a run must leave as it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostState {
    mounts: Vec<Mount>,
    hostname: String,
}

impl HostState {
    pub(crate) fn now() -> Result<HostState> {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").context("reading the hostname")?;
        Ok(HostState { mounts: mounts::table()?, hostname })
    }

    /// The mounts that were made since. None if the table cannot be read: then there are no mounts at all.
    pub(crate) fn new_mounts(&self) -> Vec<String> {
        let now = mounts::table().unwrap_or_default();
        now.into_iter().filter(|mount| !self.mounts.contains(mount)).map(|mount| mount.point).collect()
    }

    /// Fails if the host has changed since.
    pub(crate) fn still(&self, did: &str) -> Result<()> {
        self.still_but(did, &|_| false)
    }

    /// Fails if the host has changed since, other than by new mounts that may be there.
    pub(crate) fn still_but(&self, did: &str, may_be: &dyn Fn(&Mount) -> bool) -> Result<()> {
        let now = HostState::now()?;
        see::same(did, "the host's hostname to stay", &self.hostname, &now.hostname)?;
        let lines = |from: &[Mount], without: &[Mount], may: &dyn Fn(&Mount) -> bool| -> Vec<String> {
            let changed = from.iter().filter(|mount| !without.contains(mount) && !may(mount));
            changed.map(|mount| mount.line.clone()).collect()
        };
        let appeared = lines(&now.mounts, &self.mounts, may_be);
        let vanished = lines(&self.mounts, &now.mounts, &|_| false);
        if appeared.is_empty() && vanished.is_empty() {
            return Ok(());
        }
        Err(see::differs(
            did,
            "the host's mount table to stay as it was (/proc/self/mountinfo)",
            format!("new: {appeared:#?}, gone: {vanished:#?}"),
        ))
    }
}
