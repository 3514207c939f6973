//! Deleting without crossing a mount, so that nobody's data goes with ours: rmdir(2), unlink(2), proc_pid_mountinfo(5).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ch02_cgroups::files::exists;
use ch02_cgroups::mountinfo;
use log::debug;

/// Removes a directory and all that is in it; no error if there is none. Refuses where something is mounted.
pub fn remove_tree(path: &Path) -> Result<()> {
    if !exists(path)? {
        return Ok(());
    }
    ensure_not_mounted(path)?;
    debug!("remove_dir_all({path:?})");
    unless_absent(fs::remove_dir_all(path), path)
}

/// Fails if something is mounted on a directory or below it. A recursive delete would go on into the mount and
/// delete somebody's data: that is how other runtimes emptied their users' volumes.
pub fn ensure_not_mounted(path: &Path) -> Result<()> {
    // Without links, as the kernel lists it.
    let real = match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        real => real.with_context(|| format!("looking for {}", path.display()))?,
    };
    match mountinfo::read()?.into_iter().find(|mount| mount.target.starts_with(&real)) {
        Some(mount) => bail!("not removing {}: {} is a mount point", path.display(), mount.target.display()),
        None => Ok(()),
    }
}

/// Removes an empty directory; no error if there is none. rmdir(2) fails on a mount point and on whatever is
/// not empty, so it can lose nothing.
pub fn remove_directory(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    unless_absent(fs::remove_dir(path), path)
}

fn unless_absent(removed: io::Result<()>, path: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}
