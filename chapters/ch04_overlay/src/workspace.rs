//! A workspace for each container: upper, work and merged. mkdir(2), rmdir(2), unshare(2).

use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ch01_run::mounts;
use ch02_cgroups::lock;
use ch03_pivot_root::{removal, state};
use log::{debug, error, warn};
use nix::sched::{CloneFlags, unshare};

/// The directory `containers/<id>` with `upper`, `work` and `merged` in it. Dropped, it is removed; its mount is
/// not its own to undo, for it was made in the container's mount namespace and ends with that.
#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
    /// Tells other runs that ours still lives.
    owner: Option<File>,
}

impl Workspace {
    /// Makes the directories for container `id` below the state directory.
    pub fn create(state_directory: &Path, id: &str) -> Result<Workspace> {
        let containers = state_directory.join("containers");
        state::make_directories(&containers)?;
        // Other runs are kept out until ours is made and locked: else they would take it for a leftover.
        let _others = lock::wait_for(&containers)?;
        remove_leftovers(&containers)?;
        let mut workspace = Workspace { directory: containers.join(id), owner: None };
        // For root only: a set-user-ID program that a container makes must not be within everyone's reach.
        state::make_directory(&workspace.directory, 0o700)?;
        workspace.owner = Some(lock::wait_for(&workspace.directory)?);
        for path in [workspace.upper(), workspace.work(), workspace.merged()] {
            state::make_directory(&path, 0o755)?; // the mode of `upper` becomes that of `/` inside
        }
        Ok(workspace)
    }

    /// What the container wrote: new files, changed files whole, and a whiteout for each that it removed.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// Where overlayfs prepares a file before it moves it to `upper` in one step; so on the same file system.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Where upper over the image is mounted: the container's root to be.
    pub fn merged(&self) -> PathBuf {
        self.directory.join("merged")
    }

    /// Removes the workspace, and tells what Drop could not: why it failed.
    pub fn remove(self) -> Result<()> {
        remove(&ManuallyDrop::new(self).directory) // so that Drop does not try again
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            error!("{error:#}");
        }
    }
}

/// Gives this process a mount table of its own, which nobody else changes. On the host, something could be mounted
/// in the workspace between our look into mountinfo and the end of the delete; from here, the delete cannot reach it.
fn leave_host_mounts() -> Result<()> {
    debug!("unshare(CLONE_NEWNS)");
    unshare(CloneFlags::CLONE_NEWNS).context("leaving the host's mount namespace")?;
    mounts::make_private()
}

/// Removes the workspaces of runs that were killed. The kernel has long unmounted them.
fn remove_leftovers(containers: &Path) -> Result<()> {
    let leftovers = lock::leftovers(containers)?;
    if leftovers.is_empty() {
        return Ok(());
    }
    let mounts = mounts_of_all()?;
    for (directory, _lock) in leftovers {
        if is_in_use(&directory, &mounts)? {
            warn!("{} belongs to a container that outlived its run", directory.display());
        } else if let Err(error) = remove(&directory) {
            warn!("left by a run that was killed: {error:#}");
        }
    }
    Ok(())
}

/// Whether a process has a mount that names this directory, as a container's overlay names its layers. A container
/// that gave up root may have outlived its run, and then the files are not ours to take away.
fn is_in_use(directory: &Path, mounts: &[u8]) -> Result<bool> {
    let name = directory.file_name().context("a container's directory has a name")?.as_encoded_bytes();
    Ok(mounts.windows(name.len()).any(|part| part == name))
}

/// The mount tables of all processes, one after another.
fn mounts_of_all() -> Result<Vec<u8>> {
    let mut mounts = Vec::new();
    for entry in fs::read_dir("/proc").context("listing processes")? {
        let mountinfo = entry.context("listing processes")?.path().join("mountinfo");
        // Not all entries are processes, and some processes have just ended.
        mounts.extend(fs::read(mountinfo).unwrap_or_default());
    }
    Ok(mounts)
}

fn remove(directory: &Path) -> Result<()> {
    if remove_unwritten(directory) {
        return Ok(());
    }
    leave_host_mounts()?;
    // By rmdir and not with the rest: this is where a mount would be, if anything had gone wrong.
    removal::remove_directory(&directory.join("merged"))?;
    removal::remove_tree(directory)
}

/// Most commands write nothing, and what they leave is empty, but for one file of overlayfs's own: unlink(2) takes
/// that away, and rmdir(2) the rest, which can lose nothing. Whether that was all; if not, no matter why, the careful
/// way is for the rest.
fn remove_unwritten(directory: &Path) -> bool {
    // `work/work` is overlayfs's own. A volatile mount leaves a mark in it, two directories and an empty file, so that
    // nobody mounts again what a power failure may have spoilt.
    let dirty = directory.join("work/work/incompat/volatile/dirty");
    debug!("unlink({dirty:?})");
    let _ = fs::remove_file(dirty); // the mount may not have been volatile
    let parts =
        ["merged", "work/work/incompat/volatile", "work/work/incompat", "work/work", "work", "upper", ""];
    parts.iter().all(|part| removal::remove_directory(&directory.join(part)).is_ok())
}
