//! A workspace for each container: upper, work and merged. mkdir(2), rmdir(2).

use std::fs::{DirBuilder, File};
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch02_cgroups::lock;
use ch03_pivot_root::{removal, state};
use log::{debug, error};

use crate::volatile;

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
        state::make_private(&containers)?;
        // A guard before there is anything, so that whatever gets made is removed.
        let mut workspace = Workspace { directory: containers.join(id), owner: None };
        // For root only: a set-user-ID program that a container makes must not be within everyone's reach.
        let make = || DirBuilder::new().mode(0o700).create(&workspace.directory);
        debug!("mkdir({:?}, 0700)", workspace.directory);
        workspace.owner = Some(lock::hold(&workspace.directory, lock::A_MOMENT, make)?);
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

/// Removes a container's directory, with what we have made in it.
pub fn remove(directory: &Path) -> Result<()> {
    removal::ensure_nothing_on(directory)?;
    // By rmdir and before all else: this is where a mount would be, if anything had gone wrong.
    removal::remove_directory(&directory.join("merged"))?;
    volatile::remove_mark(directory);
    removal::remove_parts(directory, &["upper", "work"])
}
