//! What a command prints on stdout. Not with println!, which panics when nobody reads: `ps | head -1`.

use std::io::{ErrorKind, Write, stdout};

use anyhow::{Context, Result};

/// Prints bytes. Returns whether somebody reads them: that nobody does is no error.
pub fn print(bytes: &[u8]) -> Result<bool> {
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("writing to stdout"),
    }
}

/// Prints a line.
pub fn print_line(line: &str) -> Result<()> {
    print(format!("{line}\n").as_bytes()).map(drop)
}
