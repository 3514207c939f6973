//! Where the benchmark does its work: files and mounts of its own, and nothing left when it ends.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::machine::mounts::{self, propagation};

/// A directory that goes away with this value.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    /// Leaves the host's mount table, makes the directory, and builds the floor there.
    pub(crate) fn make() -> Result<Place> {
        leave_host_mounts()?;
        // Not in /tmp, which may be in memory: containers are kept on the disk that /var/lib is on.
        let directory = tempfile::Builder::new()
            .prefix(&format!("byhand-bench-{}-", process::id()))
            .tempdir_in("/var/tmp")
            .context("making a directory in /var/tmp")?;
        let place = Place { directory };
        // The caller's own cargo builds in it.
        fs::set_permissions(place.directory.path(), Permissions::from_mode(0o711))?;
        fs::create_dir(place.state()).with_context(|| format!("making {}", place.state().display()))?;
        let shared = place.floor_state();
        DirBuilder::new()
            .mode(0o700) // as the chapters make it
            .create(&shared)
            .with_context(|| format!("making {}", shared.display()))?;
        place.build_floor()?;
        Ok(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The chapters' state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The image that all contenders use: the chapters' own.
    pub(crate) fn image(&self) -> PathBuf {
        self.state().join("images/busybox")
    }

    pub(crate) fn floor(&self) -> PathBuf {
        self.path("floor")
    }

    /// Where the floor makes its directories: among the chapters' own. ext4 puts what a directory has into one group of
    /// inodes, and each new inode costs a look at all those of its group that were deleted in the last minutes. In
    /// another group the floor would pay for fewer of them, and not for what the chapters have deleted. Its directories
    /// are called by its process id, which no chapter takes for the id of a container.
    pub(crate) fn floor_state(&self) -> PathBuf {
        self.state().join("containers")
    }

    /// Makes the image, as the first run of a chapter's program does.
    pub(crate) fn make_image(&self, run: &mut Command) -> Result<()> {
        let output = run.stderr(Stdio::piped()).output().with_context(|| format!("running {run:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{run:?} cannot run a container: {}", said.trim());
        ensure!(self.image().is_dir(), "{run:?} made no image in {}", self.state().display());
        Ok(())
    }

    fn build_floor(&self) -> Result<()> {
        let source = self.path("floor.c");
        fs::write(&source, include_str!("../../bench/floor.c")).context("writing floor.c")?;
        let linked = self.path("floor.linked");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-static", "-o"]).arg(&linked).arg(&source);
        let built = cc.output().context("running cc, which the floor needs: install build-essential")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "cc could not build the floor statically: {}", said.trim());
        copied(&linked, self.floor()).map(drop)
    }
}

/// Copies a program. What a linker has just written is kept in memory in small pieces, and they take the kernel longer
/// to map than those of a file that was copied or read: up to 0.2 ms, for nothing that the program itself does.
pub(crate) fn copied(from: &Path, to: PathBuf) -> Result<PathBuf> {
    fs::copy(from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(to)
}

/// From here on, no mount of ours can reach the host. And crun takes a machine with version 1 and a version 2
/// mount beside it for one of version 2 only, and fails; so that mount is taken away, here alone.
fn leave_host_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("leaving the host's mount namespace")?;
    propagation(MsFlags::MS_PRIVATE)?;
    let mounts = mounts::table()?;
    if mounts.iter().any(|mount| mount.filesystem == "cgroup") {
        for mount in mounts.iter().filter(|mount| mount.filesystem == "cgroup2") {
            umount2(Path::new(&mount.point), MntFlags::MNT_DETACH).context("unmounting cgroup2")?;
        }
    }
    Ok(())
}
