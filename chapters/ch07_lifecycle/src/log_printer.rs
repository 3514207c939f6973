//! Prints a log as the container printed it, each stream on its own: write(2).

use std::io::{stderr, stdout};
use std::os::fd::AsFd;

use anyhow::Result;
use ch06_init::relay;

use crate::log_line::{Piece, Stream};

/// How the lines of a log are to be printed, and which.
#[derive(Debug)]
pub struct Printer {
    /// Whether each begins with its time.
    timestamps: bool,
    /// Those from this time on.
    since: Option<String>,
    /// Those up to this time.
    until: Option<String>,
    /// Where what is collected is to be printed.
    stream: Stream,
    collected: Vec<u8>,
    /// Whether a line has begun on a stream and not ended.
    amid_line: [bool; 2],
    unread: bool,
}

impl Printer {
    /// One that has printed nothing yet. Times are as [`rfc3339`](crate::time::rfc3339) writes them.
    pub fn new(timestamps: bool, since: Option<String>, until: Option<String>) -> Printer {
        let (stream, collected) = (Stream::Stdout, Vec::new());
        Printer { timestamps, since, until, stream, collected, amid_line: [false; 2], unread: false }
    }

    /// Whether nobody reads what we print any more.
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// Prints a piece, or collects it: see [`flush`](Printer::flush).
    pub fn print(&mut self, piece: &Piece<'_>) -> Result<()> {
        // In their order as texts, times are in their order as times.
        let is_late = self.until.as_deref().is_some_and(|until| piece.time > until);
        if is_late || self.since.as_deref().is_some_and(|since| piece.time < since) {
            return Ok(());
        }
        if piece.stream != self.stream {
            self.flush()?; // so that on one screen they come in the order in which they were printed
            self.stream = piece.stream;
        }
        let amid_line = &mut self.amid_line[piece.stream as usize];
        if self.timestamps && !*amid_line {
            self.collected.extend_from_slice(piece.time.as_bytes());
            self.collected.push(b' ');
        }
        self.collected.extend_from_slice(piece.text);
        if piece.ends {
            self.collected.push(b'\n');
        }
        *amid_line = !piece.ends;
        Ok(())
    }

    /// Prints what is collected.
    pub fn flush(&mut self) -> Result<()> {
        let (out, err) = (stdout(), stderr());
        let to = match self.stream {
            Stream::Stdout => out.as_fd(),
            Stream::Stderr => err.as_fd(),
        };
        self.unread |= !relay::write_all(to, &self.collected)?;
        self.collected.clear();
        Ok(())
    }
}
