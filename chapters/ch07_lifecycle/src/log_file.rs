//! A file that is written to without end, and cannot fill the disk: open(2), write(2), rename(2).
//!
//! When the file is full it becomes `log.1`, in the place of the one before, and a new one begins.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;

use crate::log_line::{Stream, beginning};

/// How long a file becomes, in bytes. There are two of them at most.
pub const LONGEST_FILE: u64 = 10 << 20;

/// The files of one log, for the one process that writes them.
#[derive(Debug)]
pub struct LogFile {
    directory: PathBuf,
    /// The file `log`, but for the moment after it has become `log.1`.
    file: Option<File>,
    length: u64,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    /// Why something could not be written, until that has been written down.
    lost: Option<Errno>,
}

impl LogFile {
    /// Opens the log in a container's directory, or makes it, for root only.
    pub fn open(directory: &Path) -> Result<LogFile> {
        let directory = directory.to_path_buf();
        let mut log = LogFile { directory, file: None, length: 0, torn: false, lost: None };
        log.open_file().with_context(|| log.doing("opening"))?;
        Ok(log)
    }

    /// Writes lines, or loses them if there is no room.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        if let Err(error) = self.try_to_write(lines) {
            self.lost = Some(room(&error).ok_or(error).with_context(|| self.doing("writing"))?);
        }
        Ok(())
    }

    fn try_to_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.length + lines.len() as u64 > LONGEST_FILE {
            self.begin_another()?;
        }
        if self.file.is_none() {
            self.open_file()?;
        }
        if self.torn {
            self.write_all(b"\n")?;
        }
        if let Some(errno) = self.lost {
            let why = format!("some lines before this one are lost: {} ({errno:?})", errno.desc());
            let line = format!("{}F {why}\n", beginning(Stream::Stderr));
            self.write_all(line.as_bytes())?;
            self.lost = None;
        }
        self.write_all(lines)
    }

    /// Writes all of it, or as much as there is room for, and knows afterwards what the file ends with.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        while !bytes.is_empty() {
            match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => {
                    let (done, rest) = bytes.split_at(written?);
                    self.length += done.len() as u64;
                    self.torn = done.last() != Some(&b'\n');
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    /// Makes the file the older one. With that, the one that was the older is gone.
    fn begin_another(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let (log, older) = (self.directory.join("log"), self.directory.join("log.1"));
        // First that one: a file system may write out at once what takes another's place, and here that would be all that
        // the container prints. Most of it is gone again before it would have been written anyway.
        debug!("unlink({older:?})");
        match fs::remove_file(&older) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        debug!("rename({log:?}, {older:?})");
        fs::rename(log, older)?;
        (self.file, self.length, self.torn) = (None, 0, false);
        Ok(())
    }

    fn open_file(&mut self) -> io::Result<()> {
        let path = self.directory.join("log");
        debug!("open({path:?}, O_RDWR | O_APPEND | O_CREAT, 0600)");
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
        self.length = file.metadata()?.len();
        let mut last = *b"\n";
        if self.length > 0 {
            file.read_exact_at(&mut last, self.length - 1)?;
        }
        // Whoever wrote it was killed in the middle of a line, or had no room for it.
        self.torn = last != *b"\n";
        self.file = Some(file);
        Ok(())
    }

    fn doing(&self, what: &str) -> String {
        // The way there may begin at an open directory. Then the kernel tells which one.
        let directory = fs::read_link(&self.directory).unwrap_or(self.directory.clone());
        format!("{what} {}", directory.join("log").display())
    }
}

/// What the error is, if it's a matter of room only: on the disk, in a quota, or below the caller's limit for files.
fn room(error: &io::Error) -> Option<Errno> {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.filter(|errno| matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG))
}
