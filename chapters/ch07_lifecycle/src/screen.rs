//! What a client prints, on the stdout and stderr of its caller. write(2).

use std::io::{Stderr, Stdout, stderr, stdout};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::write;

use crate::log_line::Stream;

/// At most so much at once: when poll(2) says that a pipe has room, it has room for that.
const AT_ONCE: usize = 4096;

/// Both streams.
#[derive(Debug)]
pub struct Screen {
    stdout: Stdout,
    stderr: Stderr,
    to_print: Option<(Stream, Vec<u8>)>,
    /// These have nobody who reads them.
    closed: Vec<Stream>,
}

impl Screen {
    /// The caller's.
    pub fn of_caller() -> Screen {
        Screen { stdout: stdout(), stderr: stderr(), to_print: None, closed: Vec::new() }
    }

    /// Takes what is to be printed. Only when nothing else is.
    pub fn take(&mut self, stream: Stream, bytes: Vec<u8>) {
        if !self.closed.contains(&stream) {
            self.to_print = Some((stream, bytes));
        }
    }

    /// Where to wait for room, if something is to be printed.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.to_print.as_ref().map(|(stream, _)| self.file(*stream))
    }

    /// Prints some of it. Returns the stream, if it turns out that nobody reads it any more.
    pub fn print(&mut self) -> Result<Option<Stream>> {
        let Some((stream, mut bytes)) = self.to_print.take() else { return Ok(None) };
        match write(self.file(stream), &bytes[..bytes.len().min(AT_ONCE)]) {
            Ok(length) => drop(bytes.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) if has_nobody(errno, stream) => {
                self.closed.push(stream);
                return Ok(Some(stream));
            }
            Err(errno) => return Err(errno).context("printing what the container prints"),
        }
        if !bytes.is_empty() {
            self.to_print = Some((stream, bytes));
        }
        Ok(None)
    }

    fn file(&self, stream: Stream) -> BorrowedFd<'_> {
        match stream {
            Stream::Stdout => self.stdout.as_fd(),
            Stream::Stderr => self.stderr.as_fd(),
        }
    }
}

/// Whether nobody reads it any more. Then the container learns that, as it would if it had the caller's file itself. That
/// complaints don't fit on a disk is no reason to end it.
fn has_nobody(errno: Errno, stream: Stream) -> bool {
    matches!(errno, Errno::EPIPE | Errno::EIO) || stream == Stream::Stderr
}
