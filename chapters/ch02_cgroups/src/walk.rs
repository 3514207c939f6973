//! A walk through directories, however deep they are, that no link and no renaming leads astray: openat(2), proc(5).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use log::debug;
use nix::libc::{O_DIRECTORY, O_NOFOLLOW};

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

/// A directory that the walk has gone down from.
struct Above {
    /// Its device and inode.
    identity: (u64, u64),
    /// The name in it of the directory that the walk went on to.
    name: OsString,
}

/// What a directory is, whatever its name.
fn identity(open: &File) -> Result<(u64, u64)> {
    let data = open.metadata().context("looking at a directory")?;
    Ok((data.dev(), data.ino()))
}

/// Removes all directories below an open one, the innermost first. `visit` is called in each, perhaps more than once: it
/// sees to what else is in there, and says which directory to go on to.
///
/// Few files are open at a time, and paths begin at an open one. So it does not matter how deep directories are, how long
/// their names, and how few files we may have open; and no name that somebody changes meanwhile leads us elsewhere.
pub fn remove_below(top: File, visit: impl Fn(&File) -> Result<Option<Found>>) -> Result<()> {
    let mut here = top;
    let mut way = Vec::new();
    loop {
        if let Some(found) = visit(&here)? {
            way.push(Above { identity: identity(&here)?, name: found.name });
            here = found.open;
        } else if way.is_empty() {
            return Ok(());
        } else {
            here = climb(here, &mut way)?;
        }
    }
}

/// Up from a directory with nothing in it, which is removed, and further up as long as what we come to had nothing else.
fn climb(mut here: File, way: &mut Vec<Above>) -> Result<File> {
    let mut must_be_empty = true;
    while let Some(above) = way.pop() {
        let up = go_up(&here, &above)?;
        let path = path_to(&up).join(&above.name);
        debug!("rmdir({path:?})");
        match fs::remove_dir(path) {
            Err(error) if !must_be_empty && has_more(&error) => {
                way.push(above);
                break;
            }
            removed => removed.with_context(|| format!("removing {:?}", above.name))?,
        }
        here = up;
        must_be_empty = false;
    }
    Ok(here)
}

/// Opens the directory above, if it is still the one that we came from.
fn go_up(here: &File, above: &Above) -> Result<File> {
    let up = open_directory(&path_to(here).join("..")).context("opening the directory above")?;
    ensure!(identity(&up)? == above.identity, "{:?} was moved away while we were in it", above.name);
    Ok(up)
}

/// Whether a directory could not be removed because there is something in it: a cgroup says so with EBUSY.
fn has_more(error: &io::Error) -> bool {
    [ErrorKind::DirectoryNotEmpty, ErrorKind::ResourceBusy].contains(&error.kind())
}
