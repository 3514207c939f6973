//! Names that people give to containers: symlink(2), rename(2), flock(2).
//!
//! A name is a link, `names/NAME`, to an id. The kernel makes a link only where nothing is, so of two who want a name at
//! the same moment one gets it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
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
    let directory = names(state_directory);
    state::make_private(&directory)?;
    let _lock = lock(&directory)?;
    let path = directory.join(name);
    debug!("symlink({id:?}, {path:?})");
    match symlink(id, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let owner = look_up(state_directory, name)?.unwrap_or_default();
            if Record::open(state_directory, &owner).has("")?
                || unfinished::is_there(state_directory, &owner)?
            {
                bail!("the name {name:?} is in use by container {owner}; remove or rename that one first");
            }
            // Its container is gone: who removed it was killed before the name was gone too.
            fs::remove_file(&path).and_then(|()| symlink(id, &path))
        }
        made => made,
    }
    .with_context(|| format!("making the link {}", path.display()))
}

/// Takes all its names away from a container.
pub fn give_up_all(state_directory: &Path, id: &str) -> Result<()> {
    let directory = names(state_directory);
    let listing = || format!("listing {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(listing)?,
    };
    for entry in entries {
        if let Some(name) = entry.with_context(listing)?.file_name().to_str() {
            give_up(state_directory, name, id)?;
        }
    }
    Ok(())
}

/// Takes a name away from a container, if it has it. Returns whether it had.
pub fn give_up(state_directory: &Path, name: &str, id: &str) -> Result<bool> {
    if look_up(state_directory, name)?.as_deref() != Some(id) {
        return Ok(false);
    }
    let _lock = lock(&names(state_directory))?;
    if look_up(state_directory, name)?.as_deref() == Some(id) {
        let path = names(state_directory).join(name);
        debug!("unlink({path:?})");
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(true)
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
