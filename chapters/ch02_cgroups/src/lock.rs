//! Locks that die with their owner, however it dies: flock(2).
//!
//! A directory that a run makes for its container is locked by that run for as long as it lives. So a directory
//! that can be locked belongs to nobody any more: its run was killed, and the next one takes it away.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::files::directories_in;

/// Locks a directory, when everyone else has let go of it. It is unlocked when the file is dropped: the kernel
/// does that when nobody has it open any more.
pub fn wait_for(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// The directories in `parent` that nobody has locked: what killed runs left. Each comes with its lock, so that
/// no one else takes it away at the same time. Of very many only some, and the next run takes more: each lock is an
/// open file, of which a process may have 1024, and nobody should wait long for others' remains.
pub fn leftovers(parent: &Path) -> Result<Vec<(PathBuf, File)>> {
    let mut leftovers = Vec::new();
    for path in directories_in(parent)? {
        if leftovers.len() == 100 {
            break;
        }
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // its owner has just ended
            file => file.with_context(|| format!("opening {}", path.display()))?,
        };
        match file.try_lock() {
            Ok(()) => leftovers.push((path, file)),
            Err(TryLockError::WouldBlock) => {} // its owner lives
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }
    Ok(leftovers)
}
