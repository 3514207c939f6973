//! Names that people give to containers: symlink(2), rename(2), flock(2).
//!
//! A name is a link, `names/NAME`, to an id. The kernel makes a link only where nothing is, so of two who want a name at
//! the same moment one gets it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ch02_cgroups::lock::is_id;
use ch03_pivot_root::state;
use log::debug;

use crate::record::Record;
use crate::unfinished;

/// What a name is made of, in Docker's words. No slash, no `..`: it becomes a file's name.
pub fn parse(text: &str) -> Result<String> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let is_right = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    ensure!(
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() > 1 && name.chars().all(is_right),
        "a name has two letters, digits, or _ . - at least, and begins with a letter or a digit"
    );
    ensure!(name.len() <= 200, "a name has 200 letters at most");
    Ok(name.to_string())
}

/// The id that a name leads to.
pub fn look_up(state_directory: &Path, name: &str) -> Result<Option<String>> {
    let path = names(state_directory).join(name);
    match fs::read_link(&path) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::InvalidInput].contains(&error.kind()) => Ok(None),
        link => {
            let target = link.with_context(|| format!("reading the link {}", path.display()))?;
            Ok(target.to_str().map(str::to_string))
        }
    }
}

/// Gives a container a name that no other has.
pub fn take(state_directory: &Path, name: &str, id: &str) -> Result<()> {
    state::make_private(&names(state_directory))?;
    let _lock = lock(&names(state_directory))?;
    link(state_directory, name, id)
}

/// Gives a container another name in the place of the one that it has. Nobody else is at its names meanwhile, but they can
/// be looked up: first it has two, and then the new one. So it stays if we are killed; and the old one is free then, because
/// the record doesn't say it.
pub fn change(state_directory: &Path, record: &Record, name: &str) -> Result<()> {
    state::make_private(&names(state_directory))?;
    let _lock = lock(&names(state_directory))?;
    let old = record.read("name")?;
    ensure!(old.as_deref() != Some(name), "container {} has that name already", record.id());
    link(state_directory, name, record.id())?;
    if let Err(error) = record.write("name", name) {
        unlink_if_of(state_directory, name, record.id())?;
        return Err(error);
    }
    if let Some(old) = old.and_then(|old| parse(&old).ok()) {
        unlink_if_of(state_directory, &old, record.id())?;
    }
    Ok(())
}

/// Makes the link. Call it with the lock held, as those below.
fn link(state_directory: &Path, name: &str, id: &str) -> Result<()> {
    let path = names(state_directory).join(name);
    debug!("symlink({id:?}, {path:?})");
    match symlink(id, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let owner = look_up(state_directory, name)?.unwrap_or_default();
            if owner != id && is_of(state_directory, name, &owner)? {
                bail!("the name {name:?} is in use by container {owner}; remove or rename that one first");
            }
            // Left by a command that was killed: its container is gone, or has another name.
            fs::remove_file(&path).and_then(|()| symlink(id, &path))
        }
        made => made,
    }
    .with_context(|| format!("making the link {}", path.display()))
}

/// Whether a name is that of the container that it leads to. A container on its way in has no record yet, so that's looked
/// for first. What has become of a fact that says no name, nobody knows.
fn is_of(state_directory: &Path, name: &str, owner: &str) -> Result<bool> {
    if unfinished::is_there(state_directory, owner)? {
        return Ok(true);
    }
    let record = Record::open(state_directory, owner);
    let fact = record.read("name")?.and_then(|fact| parse(&fact).ok());
    Ok(record.has("")? && fact.is_none_or(|fact| fact == name))
}

/// Takes all its names away from a container.
pub fn give_up_all(state_directory: &Path, id: &str) -> Result<()> {
    all(state_directory)?.iter().try_for_each(|name| give_up(state_directory, name, id).map(drop))
}

/// Takes away names that lead to no container, or to one of another name: what was left by commands that were killed.
pub fn sweep(state_directory: &Path) -> Result<()> {
    for name in all(state_directory)? {
        let Some(owner) = look_up(state_directory, &name)?.filter(|id| is_id(OsStr::new(id))) else {
            continue;
        };
        if is_of(state_directory, &name, &owner)? {
            continue;
        }
        // Once more: somebody may just have been changing it.
        let _lock = lock(&names(state_directory))?;
        if !is_of(state_directory, &name, &owner)? {
            unlink_if_of(state_directory, &name, &owner)?;
        }
    }
    Ok(())
}

fn all(state_directory: &Path) -> Result<Vec<String>> {
    let directory = names(state_directory);
    let listing = || format!("listing {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(listing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry.with_context(listing)?.file_name().into_string());
    }
    Ok(found)
}

/// Takes a name away from a container, if it has it. Returns whether it had.
pub fn give_up(state_directory: &Path, name: &str, id: &str) -> Result<bool> {
    if look_up(state_directory, name)?.as_deref() != Some(id) {
        return Ok(false);
    }
    let _lock = lock(&names(state_directory))?;
    unlink_if_of(state_directory, name, id)?;
    Ok(true)
}

fn unlink_if_of(state_directory: &Path, name: &str, id: &str) -> Result<()> {
    if look_up(state_directory, name)?.as_deref() == Some(id) {
        let path = names(state_directory).join(name);
        debug!("unlink({path:?})");
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn names(state_directory: &Path) -> PathBuf {
    state_directory.join("names")
}

/// One at a time: looking whose name it is and taking it away are two steps.
fn lock(directory: &Path) -> Result<File> {
    let context = || format!("locking {}", directory.display());
    let open = File::open(directory).with_context(context)?;
    open.lock().with_context(context)?;
    Ok(open)
}
