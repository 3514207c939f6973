//! Removing cgroups, with those that a container made in its own: rmdir(2).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use log::debug;

use crate::busy::is_busy;
use crate::lock;
use crate::walk::{Found, open_directory, path_to, remove_below};

/// Removes a cgroup and those that the container made in it; no error if there is none.
pub fn remove_group(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Read-only is said before anyone looks whether it is there; and nothing of ours can be.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        // There are others in it, which can be removed, or processes.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => remove_with_others(path),
        removed => removed.with_context(|| format!("removing the cgroup {}", path.display())),
    }
}

fn remove_with_others(path: &Path) -> Result<()> {
    let context = || format!("removing the cgroup {}", path.display());
    let group = open_directory(path).with_context(context)?;
    // The files are the kernel's, and a directory goes with all of them.
    remove_below(group, first_directory).with_context(context)?;
    debug!("rmdir({path:?})");
    fs::remove_dir(path).with_context(context)
}

fn first_directory(here: &File) -> Result<Option<Found>> {
    for entry in fs::read_dir(path_to(here)).context("listing it")? {
        let entry = entry.context("listing it")?;
        if entry.file_type().context("listing it")?.is_dir() {
            return Ok(Some(Found::open(here, entry.file_name())?));
        }
    }
    Ok(None)
}

/// Removes the cgroups of runs that were killed.
pub fn remove_leftovers(ours: &Path) -> Result<()> {
    lock::for_each_abandoned(ours, |directory| match remove_group(directory) {
        Err(error) if is_busy(&error) => {
            debug!("left to a later run, for its processes are still dying: {error:#}");
            Ok(())
        }
        removed => removed,
    })
}
