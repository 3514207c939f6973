//! A workspace for each container: upper, work and merged. mkdir(2), symlink(2), pid_namespaces(7).

use std::fs::{self, DirBuilder, File};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use ch02_cgroups::lock;
use ch03_pivot_root::{removal, state};
use log::{debug, error, warn};
use nix::unistd::Pid;

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

    /// Notes down which PID namespace the container has, of which `pid` is a process. If this run is killed and a
    /// process of the container outlives it, nobody takes the files away under it.
    ///
    /// The note is a link, as the one in /proc that it copies: made in one step, so that nobody ever reads half of it.
    pub fn note_pid_namespace(&self, pid: Pid) -> Result<()> {
        let namespace = format!("/proc/{pid}/ns/pid");
        let target = fs::read_link(&namespace).with_context(|| format!("reading {namespace}"))?;
        let note = self.directory.join("pid_namespace");
        debug!("symlink({target:?}, {note:?})");
        symlink(&target, &note).with_context(|| format!("linking {}", note.display()))
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

fn remove(directory: &Path) -> Result<()> {
    // By rmdir and first: this is where a mount would be, if anything had gone wrong.
    removal::remove_directory(&directory.join("merged"))?;
    removal::remove_parts(directory, &["upper", "work", "pid_namespace"])
}

/// Removes the workspaces of runs that were killed. The kernel has long unmounted them.
pub fn remove_leftovers(state_directory: &Path) -> Result<()> {
    lock::for_each_abandoned(&state_directory.join("containers"), |directory| {
        if !has_ended(directory)? {
            warn!("{} belongs to a container that outlived its run", directory.display());
        } else if let Err(error) = remove(directory) {
            warn!("left by a run that was killed: {error:#}");
        }
        Ok(())
    })
}

/// Whether no process of the container lives. One that has given up root may have outlived its run; of the others, which
/// die with it, some may need a moment.
fn has_ended(directory: &Path) -> Result<bool> {
    // Killed before it was noted, while the container was waiting at its gate: then that has ended too.
    let Ok(namespace) = fs::read_link(directory.join("pid_namespace")) else { return Ok(true) };
    for _ in 0..20 {
        if !has_process(&namespace)? {
            return Ok(true);
        }
        sleep(Duration::from_millis(10));
    }
    Ok(false)
}

fn has_process(namespace: &Path) -> Result<bool> {
    for entry in fs::read_dir("/proc").context("listing processes")? {
        let process = entry.context("listing processes")?.path();
        // Not all entries are processes, and some processes have just ended. One that waits to be reaped is still there,
        // but executes no program any more.
        let is_inside = fs::read_link(process.join("ns/pid")).is_ok_and(|other| other == namespace);
        if is_inside && fs::read_link(process.join("exe")).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}
