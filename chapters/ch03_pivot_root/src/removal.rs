//! Deleting without crossing a mount or following a link, so that nobody's data goes with ours: unlinkat(2), rmdir(2).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ch02_cgroups::files::{open_directory, remove_below};
use log::debug;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Removes a directory and all that is in it; no error if there is none.
pub fn remove_tree(path: &Path) -> Result<()> {
    debug!("removing {path:?} and all that is in it");
    match empty(path) {
        Err(error) if is_absent(&error) => Ok(()),
        emptied => emptied.and_then(|()| remove_directory(path)),
    }
}

/// Removes all that is in a directory, and goes into no other mount: a recursive delete that does so deletes somebody's
/// data, and that is how other runtimes emptied their users' volumes.
///
/// What is open is looked at, and not what has the name at that moment. So it does not matter what is mounted meanwhile:
/// an open directory stays the one that it is.
pub fn empty(path: &Path) -> Result<()> {
    let context = || format!("emptying {}", path.display());
    let above = open_directory(AT_FDCWD, path.parent().with_context(context)?).with_context(context)?;
    let top = open_directory(&above, path.file_name().with_context(context)?).with_context(context)?;
    let ours = mount_of(&above)?;
    let clear = |here: &mut Dir| {
        ensure!(mount_of(&here)? == ours, "something is mounted there; it is left as it is");
        clear(here)
    };
    remove_below(top, clear).with_context(context)
}

/// Removes the files of a directory, and the directories that are empty.
fn clear(here: &mut Dir) -> Result<()> {
    let at = here.as_fd().try_clone_to_owned().context("copying a descriptor")?;
    for entry in here.iter() {
        let entry = entry.context("listing a directory")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let removed = match unlinkat(&at, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => match unlinkat(&at, name, UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTEMPTY) => Ok(()), // its turn comes
                removed => removed,
            },
            removed => removed,
        };
        removed.with_context(|| format!("removing {name:?}"))?;
    }
    Ok(())
}

/// The number of the mount that an open file was reached through: proc_pid_fdinfo(5).
fn mount_of(open: &impl AsFd) -> Result<String> {
    let path = format!("/proc/self/fdinfo/{}", open.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    Ok(line.with_context(|| format!("{path} names no mount"))?.trim().to_string())
}

/// Removes an empty directory; no error if there is none. rmdir(2) fails on a mount point and on whatever is
/// not empty, so it can lose nothing.
pub fn remove_directory(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::NotFound)
}
