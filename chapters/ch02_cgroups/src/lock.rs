//! Locks that die with their owner, however it dies: flock(2).
//!
//! A directory that a run makes for its container is locked by that run for as long as it lives. So a directory
//! that can be locked belongs to nobody any more: its run was killed, and the next one takes it away.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Locks a directory, when everyone else has let go of it. Dropped, it is unlocked.
pub fn wait_for(path: &Path) -> Result<Flock<File>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    lock.with_context(|| format!("locking {}", path.display()))
}

/// Locks a directory if it is nobody's, and still there.
pub fn try_for(path: &Path) -> Result<Option<Flock<File>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None), // its owner has just ended
        file => file.with_context(|| format!("opening {}", path.display()))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("locking {}", path.display())),
    }
}
