//! Locks that die with their owner, however it dies: flock(2).
//!
//! What a run makes for its container it makes under a lock, and holds that as long as it lives. So what has no lock
//! that anybody holds belongs to nobody any more: its run was killed, and the next one takes it away.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use log::{debug, warn};

/// Where the locks of containers are. Only root may enter, so nobody else can hold one; and like the cgroups, it is gone
/// when the machine starts anew.
pub const DIRECTORY: &str = "/run/byhand";

/// How long to wait for another run's lock, in steps of 10 ms: ten minutes.
const PATIENCE: u32 = 60_000;

/// The lock of one container, for all that is made in cgroups under its id. Dropped, it is given up: drop it last.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    /// Takes the lock of a container that is about to be made.
    pub fn of_new(id: &str) -> Result<Lock> {
        let path = Path::new(DIRECTORY).join(id);
        let held = hold(&path, || make_file(&path))?;
        Ok(Lock { path, _held: held })
    }

    /// Leaves the file where it is. When this process has ended, nobody holds it, and a later run finds by it what there
    /// is still to remove.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        give_up(&self.path);
    }
}

/// Removes a lock that we hold, and the directory with the last one. Where that fails, the next run does it.
pub(crate) fn give_up(lock: &Path) {
    let _ = fs::remove_file(lock);
    let _ = fs::remove_dir(DIRECTORY);
}

/// Makes the file of a lock. Its directory goes with the last lock, perhaps just now.
fn make_file(path: &Path) -> io::Result<()> {
    loop {
        match DirBuilder::new().mode(0o700).create(DIRECTORY) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => return made.map(drop),
        }
    }
}

/// Lets `make` make something at `path`, and locks it; waits if another run has it already. The lock is given up when the
/// file is dropped: the kernel does that when nobody has it open any more.
pub fn hold(path: &Path, make: impl Fn() -> io::Result<()>) -> Result<File> {
    for attempt in 0..PATIENCE {
        match make() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("making {}", path.display()))?,
        }
        // None also when a run that looks for leftovers took it for one, before we had locked it: then once more.
        if let Some(held) = try_hold(path)? {
            return Ok(held);
        }
        if attempt == 100 {
            warn!("waiting for another run, which has {}", path.display());
        }
        sleep(Duration::from_millis(10));
    }
    bail!("another run does not let go of {}", path.display())
}

/// Locks what is at `path`. `None` if somebody else has, or nothing is there.
fn try_hold(path: &Path) -> Result<Option<File>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("opening {}", path.display()))?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("locking {}", path.display()));
        }
        Ok(()) => {}
    }
    // Between the two its owner may have ended and removed it. Then this is a lock on nothing.
    let opened = file.metadata().with_context(|| format!("looking at {}", path.display()))?;
    let is_there =
        path.symlink_metadata().is_ok_and(|data| (data.dev(), data.ino()) == (opened.dev(), opened.ino()));
    Ok(is_there.then_some(file))
}

/// Calls `take_away` for each thing in the directory `parent` that a killed run left there, with its lock held, so that
/// nobody else takes it away at the same time.
///
/// Ours is what has an id for a name, is root's, is closed to everybody else, and has nothing in it but `parts`. Anything
/// else is not even opened. Of very many only a hundred, and the next run takes more: nobody should wait long for
/// others' remains.
pub fn for_each_abandoned(
    parent: &Path,
    parts: &[&str],
    mut take_away: impl FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let listing = || format!("listing {}", parent.display());
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(listing)?,
    };
    let mut taken = 0;
    for entry in entries {
        let path = entry.with_context(listing)?.path();
        let is_ours = match is_ours(&path, parts) {
            Err(error) if error.kind() == ErrorKind::NotFound => false, // its owner has just ended
            is_ours => is_ours.with_context(|| format!("looking at {}", path.display()))?,
        };
        if taken < 100
            && is_ours
            && let Some(_lock) = try_hold(&path)?
        {
            debug!("left by a killed run: {path:?}");
            take_away(&path)?;
            taken += 1;
        }
    }
    Ok(())
}

/// Whether a run of ours made this: it looks so, and nobody but root can have made it look so.
fn is_ours(path: &Path, parts: &[&str]) -> io::Result<bool> {
    let data = path.symlink_metadata()?;
    if !path.file_name().is_some_and(is_id) || data.uid() != 0 || data.mode() & 0o077 != 0 {
        return Ok(false);
    }
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            if !parts.iter().any(|part| name == *part) {
                return Ok(false);
            }
        }
    }
    Ok(data.is_dir() || data.is_file())
}

/// Twelve hex digits.
fn is_id(name: &OsStr) -> bool {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.len() == 12 && name.as_encoded_bytes().iter().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert!(is_id(OsStr::new("0123456789ab")));
        for other in ["", "0123456789a", "0123456789abc", "0123456789aB", "0123456789ag", "my-project12"] {
            assert!(!is_id(OsStr::new(other)), "{other}");
        }
    }
}
