// ANCHOR: head
//! Where the runtime keeps its files on the host, and how it takes them away again: hier(7), rmdir(2).

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, bail};
use ch02_cgroups::cgroup::exists;
use ch02_cgroups::mountinfo;
use log::debug;
// ANCHOR_END: head

// ANCHOR: root
/// The state directory: `$BYHAND_ROOT`, or `/var/lib/byhand`. It need not exist yet.
pub fn root() -> Result<PathBuf> {
    let root = env::var_os("BYHAND_ROOT").filter(|root| !root.is_empty());
    // Absolute, for it is used in mounts, and those outlive a change of directory.
    path::absolute(root.unwrap_or_else(|| "/var/lib/byhand".into())).context("finding the state directory")
}
// ANCHOR_END: root

// ANCHOR: make_directory
/// Makes a directory that must be new.
pub fn make_directory(path: &Path, mode: u32) -> Result<()> {
    debug!("mkdir({path:?}, 0{mode:o})");
    let made = DirBuilder::new().mode(mode).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}
// ANCHOR_END: make_directory

// ANCHOR: make_directories
/// Makes a directory and those above it, unless they are there; of mode 755.
pub fn make_directories(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}
// ANCHOR_END: make_directories

// ANCHOR: remove_tree
/// Removes a directory and all that is in it; no error if there is none. Refuses where something is mounted.
pub fn remove_tree(path: &Path) -> Result<()> {
    if !exists(path)? {
        return Ok(());
    }
    ensure_not_mounted(path)?;
    debug!("remove_dir_all({path:?})");
    unless_absent(fs::remove_dir_all(path), path)
}
// ANCHOR_END: remove_tree

// ANCHOR: ensure_not_mounted
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
// ANCHOR_END: ensure_not_mounted

// ANCHOR: remove_directory
/// Removes an empty directory; no error if there is none. rmdir(2) fails on a mount point and on whatever is
/// not empty, so it can lose nothing.
pub fn remove_directory(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    unless_absent(fs::remove_dir(path), path)
}
// ANCHOR_END: remove_directory

// ANCHOR: unless_absent
fn unless_absent(removed: io::Result<()>, path: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}
// ANCHOR_END: unless_absent
