//! What is known of a container: a directory with one fact in each file. flock(2), rename(2), openat2(2).
//!
//! The kernel's /proc is made like that, and for the same reason: anybody can look, with `cat`. A fact is written whole or
//! not at all. That the container lives is no fact: its keeper holds a lock on the directory for as long as it does, and
//! the kernel gives the lock up when the keeper ends, by whatever death. So nothing here can say "up" of what is dead.

use std::cmp::Reverse;
use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ch02_cgroups::lock;
use ch02_cgroups::walk::path_to;
use log::debug;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::{facts, time};

/// The directory of one container: `records/ID` below the state directory.
#[derive(Debug, Clone)]
pub struct Record {
    directory: PathBuf,
    id: String,
    /// The open directory, whose lock is held as long as this is.
    lock: Option<Rc<File>>,
}

impl Record {
    /// Opens the record of this id. It need not be there; then it has no facts.
    pub fn open(state_directory: &Path, id: &str) -> Record {
        Record { directory: records(state_directory).join(id), id: id.to_string(), lock: None }
    }

    /// The same, for whoever has its directory open and locked.
    pub fn held(self, lock: File) -> Record {
        Record { lock: Some(lock.into()), ..self }
    }

    /// The open directory, if its lock is held.
    pub fn lock_held(&self) -> Option<&File> {
        self.lock.as_deref()
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a fact is, or something else that belongs to the container.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The way in: for whoever holds the lock, through the open directory, which stays the one that it is. So if somebody
    /// mounts something on it, none of our facts gets in there, and nothing that is in there is taken for one.
    pub fn way(&self) -> PathBuf {
        self.lock.as_ref().map_or_else(|| self.directory.clone(), |open| path_to(open))
    }

    /// A fact that is text, without the newline at its end. `None` if there is no such fact.
    pub fn read(&self, name: &str) -> Result<Option<String>> {
        let bytes = self.read_bytes(name)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_string()))
    }

    /// A fact as it was written.
    pub fn read_bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match fs::read(self.way().join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some).with_context(|| format!("reading {}", self.path(name).display())),
        }
    }

    /// Writes down a fact.
    pub fn write(&self, name: &str, value: impl Display) -> Result<()> {
        self.write_bytes(name, format!("{value}\n").as_bytes())
    }

    /// Writes down a fact as it is.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        facts::write(&self.way(), name, bytes)
            .with_context(|| format!("writing {}", self.path(name).display()))
    }

    /// Sees to it that a short fact can be written later, even on a full disk.
    pub fn reserve(&self, name: &str) -> Result<()> {
        facts::reserve(&self.way(), name)
            .with_context(|| format!("making room for {}", self.path(name).display()))
    }

    /// Whether there is such a fact.
    pub fn has(&self, name: &str) -> Result<bool> {
        let found = self.way().join(name).try_exists();
        found.with_context(|| format!("looking for {}", self.path(name).display()))
    }

    /// Takes a fact away. No error if there is none.
    pub fn forget(&self, name: &str) -> Result<()> {
        let way = self.way().join(name);
        debug!("unlink({way:?})");
        match fs::remove_file(way) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("removing {}", self.path(name).display())),
        }
    }

    /// Whether somebody keeps the container: it lives, or is about to.
    pub fn lives(&self) -> Result<bool> {
        let Some(directory) = self.open_directory()? else { return Ok(false) };
        // Shared, so that two who look at the same time don't see each other.
        match directory.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| self.doing("locking")),
            Ok(()) => Ok(false),
        }
    }

    /// Takes the lock, for one who starts or removes the container. `None` if somebody keeps it, or the record is gone.
    pub fn lock(&self) -> Result<Option<Record>> {
        while let Some(open) = self.open_directory()? {
            match open.try_lock() {
                // Between the two it may have been removed. Then this is a lock on nothing.
                Ok(()) if self.is_still(&open)? => return Ok(Some(self.clone().held(open))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if self.lives()? => return Ok(None),
                // Because of one who only looks, which takes a moment, or copies, which may take longer.
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(1)),
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| self.doing("locking")),
            }
        }
        Ok(None)
    }

    /// Waits until nobody keeps the container. As long as the file that this returns is open, nobody can. `None` if the
    /// record is gone.
    pub fn wait(&self) -> Result<Option<File>> {
        let Some(directory) = self.open_directory()? else { return Ok(None) };
        debug!("flock({:?}, LOCK_SH)", self.directory);
        directory.lock_shared().with_context(|| self.doing("locking"))?;
        Ok(Some(directory))
    }

    /// Whether nothing is mounted on the record's directory.
    pub fn is_in_sight(&self) -> Result<bool> {
        match self.try_open() {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => Ok(false),
            open => open.map(|_| true).with_context(|| self.doing("opening")),
        }
    }

    /// Fails if something is.
    pub fn ensure_in_sight(&self) -> Result<()> {
        self.open_directory().map(drop)
    }

    fn open_directory(&self) -> Result<Option<File>> {
        match self.try_open() {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                bail!("something is mounted on {}", self.directory.display())
            }
            open => open.with_context(|| self.doing("opening")),
        }
    }

    /// The record's own directory, if it is there: none that a link leads to, and nothing that somebody has mounted on it.
    fn try_open(&self) -> io::Result<Option<File>> {
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
        let all = File::open(self.directory.parent().unwrap_or(Path::new("/")));
        match all.and_then(|all| Ok(openat2(&all, self.id.as_str(), how)?)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            open => open.map(|open| Some(open.into())),
        }
    }

    /// Whether an open directory has its name still.
    fn is_still(&self, open: &File) -> Result<bool> {
        let Some(named) = self.open_directory()? else { return Ok(false) };
        let looking = || self.doing("looking at");
        let [open, named] = [open.metadata().with_context(looking)?, named.metadata().with_context(looking)?];
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.directory.display())
    }
}

/// Where all records are.
pub fn records(state_directory: &Path) -> PathBuf {
    state_directory.join("records")
}

/// The records of all containers.
pub fn unsorted(state_directory: &Path) -> Result<Vec<Record>> {
    let directory = records(state_directory);
    let listing = || format!("listing {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(listing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(listing)?;
        let name = entry.file_name();
        // A file or a link of that name is somebody else's.
        let is_record = lock::is_id(&name) && entry.file_type().with_context(listing)?.is_dir();
        if let Some(id) = name.to_str().filter(|_| is_record) {
            found.push(Record::open(state_directory, id));
        }
    }
    Ok(found)
}

/// The records of all containers, the newest first.
pub fn all(state_directory: &Path) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for record in unsorted(state_directory)? {
        let created = record.read("created")?.and_then(|text| time::parse(&text).ok());
        found.push((created.unwrap_or_default(), record));
    }
    found.sort_by_key(|(created, _)| Reverse(*created));
    Ok(found.into_iter().map(|(_, record)| record).collect())
}
