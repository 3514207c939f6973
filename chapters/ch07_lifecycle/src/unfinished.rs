//! Records on their way in and out: rename(2), flock(2).
//!
//! A record is made under `records/.unfinished/`, and gets its place among the others in one step when all of it is there. It goes
//! the same way back. So whoever looks finds whole records only, and what is left unfinished, with nobody's lock on it, is
//! waste that the next command takes away.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch02_cgroups::lock;
use ch03_pivot_root::{removal, state};
use ch04_overlay::volatile;
use log::{debug, warn};

use crate::names;
use crate::record::{Record, records};

/// All that we make in a record, so all that we remove there: the facts, which are written under another name first, and
/// the rest.
const FACTS: [&str; 21] = [
    "arguments",
    "directory",
    "entrypoint",
    "environment",
    "image",
    "image-id",
    "lowers",
    "network",
    "published",
    "name",
    "created",
    "keeper",
    "pid",
    "started",
    "ended",
    "status",
    "failure",
    "restarts",
    "stopping",
    "remove",
    "attach",
];
const THE_REST: [&str; 5] = ["given", "log", "log.1", "upper", "work"];

/// Makes an empty record, which has no place yet. Its lock is held as long as the file is open.
pub fn make(state_directory: &Path, id: &str) -> Result<(PathBuf, File)> {
    let unfinished = make_unfinished(state_directory)?;
    let directory = unfinished.join(id);
    debug!("mkdir({directory:?}, 0700)");
    let make = || DirBuilder::new().mode(0o700).create(&directory);
    let lock = lock::hold(&directory, lock::A_MOMENT, make).inspect_err(|_| {
        let _ = fs::remove_dir(&directory); // if it was made: it's empty then
    })?;
    Ok((directory, lock))
}

/// Gives it its place.
pub fn publish(state_directory: &Path, id: &str, lock: File) -> Result<Record> {
    let record = Record::open(state_directory, id).held(lock);
    rename(&unfinished(state_directory).join(id), record.directory())?;
    Ok(record)
}

/// Removes a record, its name, and all that the container wrote. Call it with the record's lock held.
pub fn remove(state_directory: &Path, record: &Record) -> Result<()> {
    ensure_no_mount_in(record)?;
    let directory = make_unfinished(state_directory)?.join(record.id());
    rename(record.directory(), &directory)?;
    let name = record.read("name")?; // now that nobody changes it any more
    let had_it = match name.and_then(|name| names::parse(&name).ok()) {
        Some(name) => names::give_up(state_directory, &name, record.id())?,
        None => false,
    };
    if !had_it {
        names::give_up_all(state_directory, record.id())?; // whatever has become of the fact
    }
    remove_files(&directory)
}

/// A mount in there is somebody's data, and goes nowhere. One of the container's own is in no other table than its own.
fn ensure_no_mount_in(record: &Record) -> Result<()> {
    let table = fs::read("/proc/self/mountinfo").context("reading the mount table")?; // not each path is text
    let mut parts = table.windows(record.id().len());
    ensure!(
        !parts.any(|part| part == record.id().as_bytes()),
        "something is mounted in {}",
        record.directory().display()
    );
    Ok(())
}

/// Removes what killed commands have left unfinished.
pub fn sweep(state_directory: &Path) -> Result<()> {
    lock::for_each_abandoned(&unfinished(state_directory), |directory| {
        if let Err(error) = remove_files(directory) {
            warn!("left by a command that was killed: {error:#}");
        }
        Ok(())
    })
}

/// Whether a container of this id is on its way in or out.
pub fn is_there(state_directory: &Path, id: &str) -> Result<bool> {
    let path = unfinished(state_directory).join(id);
    Ok(!id.is_empty() && path.try_exists().with_context(|| format!("looking for {}", path.display()))?)
}

/// Removes the files of a record that has no place, and whatever else is in it and ours.
pub fn remove_files(directory: &Path) -> Result<()> {
    removal::ensure_nothing_on(directory)?;
    removal::remove_directory(&directory.join("merged"))?; // by rmdir and first: where a mount would be
    volatile::remove_mark(directory);
    let new = FACTS.map(|fact| format!("{fact}.new"));
    let parts: Vec<_> = FACTS.into_iter().chain(THE_REST).chain(new.iter().map(String::as_str)).collect();
    removal::remove_parts(directory, &parts)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    debug!("rename({from:?}, {to:?})");
    fs::rename(from, to).with_context(|| format!("moving {} to {}", from.display(), to.display()))
}

/// Among the records, for nothing is renamed from one file system to another, and they may be on one of their own.
fn unfinished(state_directory: &Path) -> PathBuf {
    records(state_directory).join(".unfinished")
}

fn make_unfinished(state_directory: &Path) -> Result<PathBuf> {
    let directory = unfinished(state_directory);
    if !directory.exists() {
        state::make_private(&records(state_directory))?;
        state::make_private(&directory)?;
    }
    Ok(directory)
}
