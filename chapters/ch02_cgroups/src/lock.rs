//! Locks that die with their owner, however it dies: flock(2).
//!
//! A directory that a run makes for its container is locked by that run for as long as it lives. So one that is not
//! locked belongs to nobody any more: its run was killed, and the next one takes it away.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use log::{debug, warn};

/// How long to wait for what only a run that looks for leftovers can have. It has it for a moment, but the moments of a slow
/// and busy machine are long.
pub const A_MOMENT: Duration = Duration::from_secs(5);

/// After so long a wait is told, if it may last longer than a moment.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// How often to try again.
const STEP: Duration = Duration::from_millis(10);

/// Lets `make` make a directory at `path`, closed to all but root so that nobody else can lock it, and locks it. If
/// another run has it already, waits for so long at most, and says so. The lock is given up when the file is dropped:
/// the kernel does that when nobody has it open any more.
pub fn hold(path: &Path, patience: Duration, make: impl Fn() -> io::Result<()>) -> Result<File> {
    let mut waited = Duration::ZERO;
    loop {
        match make() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("making {}", path.display()))?,
        }
        // None also when a run that looks for leftovers took it for one, before we had locked it: then once more.
        if let Some(held) = try_hold(path)? {
            return Ok(held);
        }
        ensure!(waited < patience, "another run does not let go of {}", path.display());
        if waited == WORTH_A_WORD && patience > A_MOMENT {
            warn!("waiting for another run, which has {}", path.display());
        }
        sleep(STEP);
        waited += STEP;
    }
}

/// Locks what is at `path`. `None` if somebody else has, or nothing is there.
pub fn try_hold(path: &Path) -> Result<Option<File>> {
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
/// Ours is what has an id for a name, is root's, and is closed to everybody else; nothing else is even opened. Of very
/// many only a hundred, and the next run takes more: nobody should wait long for others' remains.
pub fn for_each_abandoned(parent: &Path, mut take_away: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let mut taken = 0;
    for path in entries(parent)? {
        if taken < 100
            && is_ours(&path)?
            && let Some(_lock) = try_hold(&path)?
        {
            debug!("left by a killed run: {path:?}");
            take_away(&path)?;
            taken += 1;
        }
    }
    Ok(())
}

/// What is in a directory, if that is there.
fn entries(parent: &Path) -> Result<Vec<PathBuf>> {
    let listing = || format!("listing {}", parent.display());
    match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.with_context(listing)?.map(|one| Ok(one.with_context(listing)?.path())).collect(),
    }
}

/// Whether a run of ours made this: it looks so, and nobody but root can have made it look so.
fn is_ours(path: &Path) -> Result<bool> {
    let data = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false), // its owner has just ended
        data => data.with_context(|| format!("looking at {}", path.display()))?,
    };
    let closed = data.uid() == 0 && data.mode() & 0o077 == 0;
    Ok(path.file_name().is_some_and(is_id) && closed && data.is_dir())
}

/// Twelve hex digits.
pub fn is_id(name: &OsStr) -> bool {
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
