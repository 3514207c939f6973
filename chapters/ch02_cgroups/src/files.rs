//! Files and directories of cgroups, which are the kernel's own: each write is a command. mkdir(2), write(2), rmdir(2).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;

/// One file to write in a cgroup, for one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller that the file belongs to.
    pub controller: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// What to write there.
    pub value: String,
}

/// Whether it is there. An error is no answer: what cannot be seen may be there all the same.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("looking for {}", path.display()))
}

/// Makes a cgroup: the kernel puts its files in at once.
pub(crate) fn make_group(path: &Path) -> Result<()> {
    debug!("mkdir({path:?})");
    fs::create_dir(path).with_context(|| format!("making the cgroup {}", path.display()))
}

/// Writes one cgroup file in one write(2): each write is a command to the kernel.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    debug!("write({path:?}, {value:?})");
    // Not fs::write, which would make the file if there is none: where that works is no cgroup.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// The directories in a directory.
pub(crate) fn directories_in(path: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("listing {}", path.display());
    let mut directories = Vec::new();
    for entry in fs::read_dir(path).with_context(context)? {
        let entry = entry.with_context(context)?;
        if entry.file_type().with_context(context)?.is_dir() {
            directories.push(entry.path());
        }
    }
    Ok(directories)
}

/// Removes a cgroup and those that the container made in it; no error if there is none.
pub(crate) fn remove_group(path: &Path) -> Result<()> {
    match remove_one(path) {
        // There are others in it, which can be removed, or processes.
        Err(error) if is_busy(&error) => {
            for directory in directories_in(path)? {
                remove_group(&directory)?;
            }
            remove_one(path)
        }
        removed => removed,
    }
}

/// Only rmdir(2) works here: the files are the kernel's, and a directory goes with all of them.
fn remove_one(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Read-only is said before anyone looks whether it is there; and nothing of ours can be.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        removed => removed.with_context(|| format!("removing the cgroup {}", path.display())),
    }
}

/// Whether there are still processes in it.
pub(crate) fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::ResourceBusy)
}
