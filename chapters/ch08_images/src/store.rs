//! Where images are kept: blobs by their digests, layers unpacked, and names. rename(2), flock(2).
//!
//! Nothing in here is ever changed. A blob comes into being under another name and is renamed when all of it is there, and
//! what its name says is what its bytes add up to. So two images share what they have in common, two commands that want the
//! same blob can't disturb each other, and a crash leaves at most something that has no name yet.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ch01_run::id;
use ch02_cgroups::files::exists;
use ch03_pivot_root::state;
use log::{debug, warn};

use crate::digest::{Digest, Hashing};
use crate::formats::BIGGEST;

/// `store` below the state directory.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the store, and makes it if it is not there.
    pub fn open(state_directory: &Path) -> Result<Store> {
        let store = Store { directory: state_directory.join("store") };
        if !exists(&store.path("tags"))? {
            for name in ["blobs/sha256", "incoming", "layers", "tags"] {
                state::make_private(&store.path(name))?; // the last one last
            }
        }
        Ok(store)
    }

    /// Where something of the store is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// For as long as the file is open, nothing is taken out of the store. Others can use it at the same time.
    pub fn share(&self) -> Result<File> {
        self.lock("LOCK_SH", File::try_lock_shared)
    }

    /// For as long as the file is open, nobody else uses the store.
    pub fn alone(&self) -> Result<File> {
        self.lock("LOCK_EX", File::try_lock)
    }

    /// The same, but without waiting. `None` if somebody uses the store.
    pub fn try_alone(&self) -> Result<Option<File>> {
        let locking = || format!("locking {}", self.directory.display());
        let directory = File::open(&self.directory).with_context(locking)?;
        debug!("flock({:?}, LOCK_EX | LOCK_NB)", self.directory);
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(locking),
            Ok(()) => Ok(Some(directory)),
        }
    }

    fn lock(&self, how: &str, take: impl Fn(&File) -> Result<(), TryLockError>) -> Result<File> {
        const STEP: Duration = Duration::from_millis(10);
        let locking = || format!("locking {}", self.directory.display());
        let directory = File::open(&self.directory).with_context(locking)?;
        let mut waited = Duration::ZERO;
        loop {
            debug!("flock({:?}, {how})", self.directory);
            match take(&directory) {
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(locking),
                Ok(()) => return Ok(directory),
            }
            if waited == Duration::from_secs(1) {
                warn!("waiting for another command, which uses {}", self.directory.display());
            }
            sleep(STEP);
            waited += STEP;
        }
    }

    /// Where a blob is, or would be.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is there.
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob(digest);
        path.try_exists().with_context(|| format!("looking for {}", path.display()))
    }

    /// A document: all its bytes, if they are what their name says.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = self.bytes(digest)?;
        let path = self.blob(digest);
        ensure!(
            Digest::of(&bytes) == *digest,
            "{} is damaged: its bytes are not what its name says",
            path.display()
        );
        Ok(bytes)
    }

    /// Removes a document that is damaged, so that it can come again.
    pub fn remove_damaged(&self, digest: &Digest) -> Result<()> {
        if !self.has(digest)? || Digest::of(&self.bytes(digest)?) == *digest {
            return Ok(());
        }
        let path = self.blob(digest);
        debug!("unlink({path:?})");
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // somebody else was faster
            removed => removed.with_context(|| format!("removing {}, which is damaged", path.display())),
        }
    }

    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob(digest);
        let reading = || format!("reading {}", path.display());
        // With room for all of a usual one, it is read in one step.
        let (file, mut bytes) = (File::open(&path).with_context(reading)?, Vec::with_capacity(16 << 10));
        file.take(BIGGEST + 1).read_to_end(&mut bytes).with_context(reading)?;
        ensure!(bytes.len() as u64 <= BIGGEST, "{} is no document: it's longer than 4 MiB", path.display());
        Ok(bytes)
    }

    /// All blobs, in the order of their digests.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        let directory = self.path("blobs/sha256");
        let listing = || format!("listing {}", directory.display());
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&directory).with_context(listing)? {
            let name = entry.with_context(listing)?.file_name();
            blobs.extend(format!("sha256:{}", name.display()).parse::<Digest>().ok());
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Whether a blob could be a document: most are layers, and much longer.
    pub fn is_json(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob(digest);
        let reading = || format!("reading {}", path.display());
        let (file, mut first) = (File::open(&path).with_context(reading)?, Vec::new());
        let is_short = file.metadata().with_context(reading)?.len() <= BIGGEST;
        file.take(16).read_to_end(&mut first).with_context(reading)?;
        let first = first.trim_ascii_start();
        Ok(is_short && (first.is_empty() || first.starts_with(b"{"))) // nobody knows what comes after so many blanks
    }

    /// Keeps a document, unless it is there and whole: then whoever holds it holds it still. Returns its name.
    pub fn add(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.read(&digest).is_ok() {
            return Ok(digest);
        }
        let mut incoming = self.incoming()?;
        incoming.write_all(bytes).context("writing a blob")?;
        Ok(incoming.keep(None)?.0)
    }

    /// A new blob, of which nothing is known yet.
    pub fn incoming(&self) -> Result<Incoming<'_>> {
        let path = self.path("incoming").join(id::random()?);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("making {}", path.display()))?;
        // Whoever takes waste away leaves what is locked.
        file.lock_shared().with_context(|| format!("locking {}", path.display()))?;
        Ok(Incoming { store: self, path, bytes: Some(Hashing::new(file)) })
    }

    /// Writes a small file whole or not at all, in a directory of the store that is made if it is not there.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut incoming = self.incoming()?;
        let parent = path.parent().unwrap_or(&self.directory);
        state::make_private(parent)?;
        // Nothing else tells whether these bytes are the right ones. So they are on the disk before they have their name.
        let written = incoming.write_all(bytes).and_then(|()| File::open(&incoming.path)?.sync_all());
        written.and_then(|()| incoming.rename(path)).with_context(|| format!("writing {}", path.display()))
    }
}

/// A blob that comes, written to like any file. Dropped before it is kept, it is removed.
pub struct Incoming<'a> {
    store: &'a Store,
    path: PathBuf,
    bytes: Option<Hashing<File>>,
}

impl Incoming<'_> {
    /// Gives it its name, unless it is not what was `expected`. Returns its digest, and its length in bytes.
    pub fn keep(mut self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let bytes = self.bytes.take().context("a blob is kept once")?;
        let length = bytes.length();
        let (digest, _file) = bytes.finish();
        if let Some(expected) = expected {
            ensure!(digest == *expected, "what came is {digest}, and should be {expected}");
        }
        let path = self.store.blob(&digest);
        self.rename(&path).with_context(|| format!("keeping {}", path.display()))?;
        Ok((digest, length))
    }

    /// Puts it aside until it's known whether it's wanted. Nothing has it open any more, so there can be many.
    pub fn park(mut self) -> Result<Parked> {
        let bytes = self.bytes.take().context("a blob is kept once")?;
        let length = bytes.length();
        let path = mem::take(&mut self.path); // so that it isn't removed
        Ok(Parked { path, digest: bytes.finish().0, length })
    }

    fn rename(&self, to: &Path) -> io::Result<()> {
        debug!("rename({:?}, {to:?})", self.path);
        fs::rename(&self.path, to)
    }
}

impl Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Some(file) => file.write(bytes),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob that has come, and may be wanted. Dropped, it is removed, unless it has been kept.
#[derive(Debug)]
pub struct Parked {
    /// Where its bytes are.
    pub path: PathBuf,
    /// What they add up to.
    pub digest: Digest,
    /// How many they are.
    pub length: u64,
}

impl Parked {
    /// Gives it one more name, that of a blob, unless there is such a blob already.
    pub fn keep(&self, store: &Store) -> Result<()> {
        let path = store.blob(&self.digest);
        debug!("link({:?}, {path:?})", self.path);
        match fs::hard_link(&self.path, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked.with_context(|| format!("keeping {}", path.display())),
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // a blob has its own name
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // once it has its name, this one is gone
    }
}
