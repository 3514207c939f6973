//! A host of its own for each check: the mount table and the hostname are copies that go away with it.
//!
//! Whatever a runtime does to them, the real host does not notice. `/` is shared there, as systemd has
//! it on most machines: the hard case, in which a forgotten `MS_PRIVATE` shows.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

use crate::machine::mounts::{self, Mount, propagation};
use crate::see;

/// What the name of a check's own directory below the temporary one begins with.
pub(crate) const DIRECTORY_PREFIX: &str = "lab-";

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

/// An error unless `/proc` is what it should be: without it the lab sees neither processes nor mounts, nor itself.
pub(crate) fn require_proc() -> Result<()> {
    let own = fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse().ok());
    ensure!(
        own == Some(std::process::id()) && Path::new("/proc/self/exe").exists(),
        "/proc does not show this process: something covers it, or it is that of other namespaces (see `findmnt /proc`)"
    );
    Ok(())
}

/// What a run must leave as it was.
#[derive(Debug)]
pub(crate) struct HostState {
    mounts: Vec<Mount>,
    hostname: String,
}

/// Whether it is the check's own, and nobody else has to do with it.
fn is_own(mount: &Mount) -> bool {
    let below = Path::new(&mount.point).strip_prefix(std::env::temp_dir());
    below.is_ok_and(|path| path.to_string_lossy().starts_with(DIRECTORY_PREFIX))
}

/// Whether someone else took it away: along with the directory that was its mount point, which ends a mount in all
/// namespaces. To unmount it would leave the directory there.
fn went_with_its_point(mount: &Mount) -> bool {
    !is_own(mount) && !Path::new(&mount.point).exists()
}

/// Those mounts of a table that another table lacks. What holds for a whole file system (the last field) others may
/// change, unless it is the check's own.
fn without<'a>(table: &'a [Mount], other: &[Mount]) -> Vec<&'a Mount> {
    let here = |mount: &Mount| mount.line.rsplit_once(' ').map(|(line, _)| line.to_string());
    let same = |one: &Mount, other: &Mount| one == other || (!is_own(one) && here(one) == here(other));
    table.iter().filter(|mount| !other.iter().any(|other| same(mount, other))).collect()
}

impl HostState {
    pub(crate) fn now() -> Result<HostState> {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").context("reading the hostname")?;
        Ok(HostState { mounts: mounts::table()?, hostname })
    }

    /// The mounts that were made since. None if the table cannot be read: then there are no mounts at all.
    pub(crate) fn new_mounts(&self) -> Vec<String> {
        let now = mounts::table().unwrap_or_default();
        without(&now, &self.mounts).into_iter().map(|mount| mount.point.clone()).collect()
    }

    /// Fails if the host has changed since.
    pub(crate) fn still(&self, did: &str) -> Result<()> {
        self.still_but(did, &|_| false)
    }

    /// Fails if the host has changed since, other than by new mounts that may be there.
    pub(crate) fn still_but(&self, did: &str, may_be: &dyn Fn(&Mount) -> bool) -> Result<()> {
        let now = HostState::now()?;
        see::same(did, "the host's hostname to stay", &self.hostname, &now.hostname)?;
        let line = |mount: &Mount| mount.line.clone();
        let appeared = without(&now.mounts, &self.mounts).into_iter();
        let appeared: Vec<_> = appeared.filter(|mount| !may_be(mount)).map(line).collect();
        let vanished = without(&self.mounts, &now.mounts).into_iter();
        let vanished: Vec<_> = vanished.filter(|mount| !went_with_its_point(mount)).map(line).collect();
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

#[cfg(test)]
mod tests {
    use nix::mount::{MntFlags, umount2};
    use nix::unistd::geteuid;

    use super::*;

    /// What happens to `point`, a mount, while a check's host has a copy of it, and what the check says to that.
    fn meanwhile(point: &Path, work: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
        fs::create_dir_all(point)?;
        let result = of_its_own(|| {
            mounts::tmpfs(point, MsFlags::empty(), "size=1m")?;
            of_its_own(|| {
                let before = HostState::now()?;
                work(point)?;
                before.still("nothing")
            })
        });
        let _ = fs::remove_dir(point);
        result
    }

    #[test]
    fn a_mount_that_others_take_away_with_its_point_is_no_matter_of_the_check() {
        if !geteuid().is_root() {
            println!("skipped: only root can mount");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let others = directory.path().join("others");
        // Out here it is no mount point, so that it can be removed.
        meanwhile(&others, |point| Ok(remove_outside(point)?)).unwrap();
        let kept = |point: &Path| umount2(point, MntFlags::MNT_DETACH).context("unmounting");
        meanwhile(&others, kept).unwrap_err();
        let own = std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}test-{}", std::process::id()));
        meanwhile(&own, |point| Ok(remove_outside(point)?)).unwrap_err();
    }

    /// Removes a directory as those see it who have this program's own mounts.
    fn remove_outside(point: &Path) -> std::io::Result<()> {
        let mut rmdir = std::process::Command::new("nsenter");
        rmdir.arg(format!("--mount=/proc/{}/ns/mnt", std::process::id())).arg("rmdir").arg(point);
        let status = rmdir.status()?;
        assert!(status.success(), "{rmdir:?}");
        Ok(())
    }
}
