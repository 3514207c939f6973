//! A directory that comes into being whole or not at all: rename(2), flock(2).

use std::fs::{self, DirBuilder, Permissions};
use std::mem::forget;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ch02_cgroups::files::exists;
use ch02_cgroups::lock;
use log::{debug, error};

use crate::removal;

/// How long to wait for another run that is making the same directory.
const PATIENCE: Duration = Duration::from_secs(600);

/// The mode of what is not yet to be seen.
const CLOSED: u32 = 0o700;

/// Lets `fill` fill a new directory, and gives it the name `path` when it is done, however many runs want it at once, or
/// fail, or are killed. If another run has been faster, nothing is left to do.
pub fn make(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    // Closed to others while it is made, so that only root can have its lock. It keeps that when it is renamed.
    let _lock = lock::hold(&unfinished, PATIENCE, || DirBuilder::new().mode(CLOSED).create(&unfinished))?;
    let unfinished = Unfinished::emptied(unfinished)?;
    if exists(path)? {
        return Ok(()); // made by another run while we waited for the lock
    }
    fill(&unfinished.0)?;
    unfinished.finish(path)
}

/// A directory being made. Dropped before it has its name, it is removed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// Takes what a killed run has left there out of it. What cannot be taken out stays there, and is told once.
    fn emptied(path: PathBuf) -> Result<Unfinished> {
        if let Err(error) = removal::empty(&path) {
            let _ = fs::remove_dir(&path); // if we have only just made it
            return Err(error);
        }
        Ok(Unfinished(path))
    }

    /// Opens it to all, unless it has been given another mode, and gives it its name.
    fn finish(self, path: &Path) -> Result<()> {
        let from = &self.0;
        let opened = from.metadata().and_then(|data| match data.mode() & 0o7777 {
            CLOSED => fs::set_permissions(from, Permissions::from_mode(0o755)),
            _ => Ok(()),
        });
        opened.with_context(|| format!("setting the mode of {}", from.display()))?;
        debug!("rename({from:?}, {path:?})");
        fs::rename(from, path).with_context(|| format!("renaming {from:?} to {path:?}"))?;
        forget(self); // what has the old name by now is another run's
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = removal::remove_tree(&self.0) {
            error!("{error:#}");
        }
    }
}
