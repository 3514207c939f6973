//! What the kernel tells of a process in one line: proc_pid_stat(5).

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// That line.
#[derive(Debug)]
pub struct Stat {
    line: String,
}

impl Stat {
    /// Reads it. It's an error if the process has just ended.
    pub fn read(pid: Pid) -> Result<Stat> {
        let path = format!("/proc/{pid}/stat");
        // The name is whatever bytes the program likes; the numbers behind it are text.
        let line = fs::read(&path).with_context(|| format!("reading {path}"))?;
        Ok(Stat { line: String::from_utf8_lossy(&line).into_owned() })
    }

    /// The program's name, at most 15 bytes of it.
    pub fn name(&self) -> Option<&str> {
        Some(self.line.rsplit_once(')')?.0.split_once('(')?.1)
    }

    /// A field by its number in the man page, from 3 on, the state. The second is the program's name, in brackets, and may
    /// have anything in it.
    pub fn field(&self, number: usize) -> Option<&str> {
        self.line.rsplit_once(')')?.1.split_whitespace().nth(number.checked_sub(3)?)
    }
}
