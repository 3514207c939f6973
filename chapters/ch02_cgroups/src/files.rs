//! Files and directories of cgroups, which are the kernel's own: each write is a command. mkdir(2), write(2), rmdir(2).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use log::debug;
use nix::libc::{O_DIRECTORY, O_NOFOLLOW};

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

/// Makes a cgroup that only root may open, in a directory for all of ours which is made too: the kernel puts their files in
/// at once.
pub(crate) fn make_group(path: &Path) -> io::Result<()> {
    let Some(ours) = path.parent() else { return Err(ErrorKind::InvalidInput.into()) };
    loop {
        debug!("mkdir({ours:?})");
        match fs::create_dir(ours) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        debug!("mkdir({path:?}, 0700)");
        match DirBuilder::new().mode(0o700).create(path) {
            // Another run, the last one so far, has just taken the directory for all away.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => return made,
        }
    }
}

/// Writes one cgroup file in one write(2): each write is a command to the kernel.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    debug!("write({path:?}, {value:?})");
    // Not fs::write, which would make the file if there is none: where that works is no cgroup.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// Removes a cgroup and those that the container made in it; no error if there is none.
pub(crate) fn remove_group(path: &Path) -> Result<()> {
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

/// Whether there are still processes in it.
pub(crate) fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::ResourceBusy)
}

/// Opens a directory, and not one that a link leads to.
pub fn open_directory(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(O_DIRECTORY | O_NOFOLLOW).open(path)
}

/// A path to what is open, whatever has its name by now.
pub fn path_to(open: &File) -> PathBuf {
    format!("/proc/self/fd/{}", open.as_raw_fd()).into()
}

/// A directory that was found in another one, and is open.
#[derive(Debug)]
pub struct Found {
    /// Its name there.
    pub name: OsString,
    /// The directory itself.
    pub open: File,
}

impl Found {
    /// Opens what has this name in the open directory `here`.
    pub fn open(here: &File, name: OsString) -> Result<Found> {
        let open = open_directory(&path_to(here).join(&name)).with_context(|| format!("opening {name:?}"))?;
        Ok(Found { name, open })
    }
}

/// Removes all directories below an open one, the innermost first. `visit` is called in each, perhaps more than once: it
/// sees to what else is in there, and says which directory to go on to.
///
/// Few files are open at a time, and paths begin at an open one. So it does not matter how deep directories are, how long
/// their names, and how few files we may have open; and no name that somebody changes meanwhile leads us elsewhere.
pub fn remove_below(top: File, visit: impl Fn(&File) -> Result<Option<Found>>) -> Result<()> {
    let identity = |open: &File| open.metadata().map(|data| (data.dev(), data.ino()));
    let mut here = top;
    let mut way = Vec::new();
    loop {
        if let Some(found) = visit(&here)? {
            way.push((identity(&here).context("looking at a directory")?, found.name));
            here = found.open;
            continue;
        }
        if way.is_empty() {
            return Ok(());
        }
        // Up, and further up as long as what we come to had nothing else in it.
        let mut must_be_empty = true;
        while let Some((above, name)) = way.pop() {
            let up = open_directory(&path_to(&here).join("..")).context("opening the directory above")?;
            let is_same = identity(&up).context("looking at a directory")? == above;
            ensure!(is_same, "{name:?} was moved away while we were in it");
            let path = path_to(&up).join(&name);
            debug!("rmdir({path:?})");
            match fs::remove_dir(path) {
                Err(error) if !must_be_empty && has_more(&error) => {
                    way.push((above, name));
                    break;
                }
                removed => removed.with_context(|| format!("removing {name:?}"))?,
            }
            here = up;
            must_be_empty = false;
        }
    }
}

/// Whether a directory could not be removed because there is something in it: a cgroup says so with EBUSY.
fn has_more(error: &io::Error) -> bool {
    [ErrorKind::DirectoryNotEmpty, ErrorKind::ResourceBusy].contains(&error.kind())
}
