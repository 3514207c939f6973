//! Deleting without crossing a mount or following a link, so that nobody's data goes with ours: unlinkat(2), rmdir(2).

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ch02_cgroups::walk::{Found, open_directory, path_to, remove_below};
use log::debug;

/// What rmdir(2) says of a directory that has something in it, or mounted on it.
const IN_USE: [ErrorKind; 2] = [ErrorKind::DirectoryNotEmpty, ErrorKind::ResourceBusy];

/// Removes a directory and all that is in it; no error if there is none.
pub fn remove_tree(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if IN_USE.contains(&error.kind()) => {
            empty(path)?;
            remove_directory(path)
        }
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}

/// Fails if something is mounted on a directory: whatever names are in it, it is somebody's data. No error if it is not
/// there.
pub fn ensure_nothing_on(directory: &Path) -> Result<()> {
    let context = || format!("removing {}", directory.display());
    match open_directory(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        open => {
            let open = open.with_context(context)?;
            let above = open_directory(&directory.join("..")).with_context(context)?;
            ensure_on(&mount_of(&above)?, &open).with_context(context)
        }
    }
}

/// Removes a directory with these parts in it, the directories with all that is in them. Whatever else somebody has put
/// there is not ours: it stays, and the directory with it, unless it is an empty directory itself.
pub fn remove_parts(directory: &Path, parts: &[&str]) -> Result<()> {
    let listing = || format!("listing {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(listing)?,
    };
    for entry in entries {
        let entry = entry.with_context(listing)?;
        let path = entry.path();
        if !parts.iter().any(|part| entry.file_name() == *part) {
            let _ = fs::remove_dir(&path); // it may not be one, or have something in it
        } else if entry.file_type().with_context(listing)?.is_dir() {
            remove_tree(&path)?;
        } else {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    remove_directory(directory)
}

/// Removes all that is in a directory, and goes into no other mount: a recursive delete that does so deletes somebody's
/// data, and that is how other runtimes emptied their users' volumes.
///
/// It looks at what is open, and not at what has the name at that moment. So it does not matter what gets mounted while it
/// works: an open directory stays the one that it is.
pub fn empty(path: &Path) -> Result<()> {
    let context = || format!("emptying {}", path.display());
    let top = open_directory(path).with_context(context)?;
    let above = open_directory(&path.join("..")).with_context(context)?;
    let ours = mount_of(&above).with_context(context)?;
    ensure_on(&ours, &top).with_context(context)?;
    remove_below(top, |here| clear(here, &ours)).with_context(context)
}

/// Why we go no further.
const MOUNTED: &str = "something is mounted there, and left as it is";

/// Removes the files of a directory, and the directories that are empty. Returns one that is not.
fn clear(here: &File, ours: &str) -> Result<Option<Found>> {
    for entry in fs::read_dir(path_to(here)).context("listing a directory")? {
        let entry = entry.context("listing a directory")?;
        let is_directory = entry.file_type().context("listing a directory")?.is_dir();
        let removed = if is_directory { fs::remove_dir(entry.path()) } else { fs::remove_file(entry.path()) };
        match removed {
            Err(error) if is_directory && IN_USE.contains(&error.kind()) => {
                let found = Found::open(here, entry.file_name())?;
                ensure_on(ours, &found.open).with_context(|| format!("going into {:?}", found.name))?;
                return Ok(Some(found));
            }
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                bail!("removing {:?}: {MOUNTED}", entry.file_name())
            }
            removed => removed.with_context(|| format!("removing {:?}", entry.file_name()))?,
        }
    }
    Ok(None)
}

/// Fails if an open directory is of another mount than `ours`.
fn ensure_on(ours: &str, open: &File) -> Result<()> {
    ensure!(mount_of(open)? == ours, MOUNTED);
    Ok(())
}

/// The number of the mount that an open file was reached through: proc_pid_fdinfo(5).
fn mount_of(open: &File) -> Result<String> {
    let path = format!("/proc/self/fdinfo/{}", open.as_raw_fd());
    let mut text = [0; 256]; // a few short lines
    let read = File::open(&path).and_then(|mut file| file.read(&mut text));
    let length = read.with_context(|| format!("reading {path}"))?;
    let text = String::from_utf8_lossy(&text[..length]);
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
