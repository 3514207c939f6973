//! What lies below a container's own files: a directory of links in its record, the topmost first. symlink(2), chdir(2),
//! overlayfs.rst.
//!
//! Whatever somebody types later, wherever they are, the container lies on what it was made on. And the links have short
//! names: the options of a mount must fit in one page.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch03_pivot_root::state::make_directory;
use ch04_overlay::{overlay, volatile};
use log::debug;
use nix::unistd::chdir;

use crate::record::Record;

/// What is to be there after a crash must get to the disk. What goes at its end need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As long as somebody wants it.
    ForLong,
    /// To the container's end.
    ToItsEnd,
}

/// Makes the links `0`, `1` and so on, in a record that is being made.
pub fn write(directory: &Path, lowers: &[PathBuf]) -> Result<()> {
    let links = directory.join("lower");
    make_directory(&links, 0o700)?;
    for (number, lower) in lowers.iter().enumerate() {
        let link = links.join(number.to_string());
        symlink(lower, &link).with_context(|| format!("making the link {}", link.display()))?;
    }
    Ok(())
}

/// Where a record's links lead.
pub fn read(record: &Record) -> Result<Vec<PathBuf>> {
    let links = record.path("lower");
    let mut lowers = Vec::new();
    loop {
        let link = links.join(lowers.len().to_string());
        match fs::read_link(&link) {
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            lower => lowers.push(lower.with_context(|| format!("reading the link {}", link.display()))?),
        }
    }
    ensure!(!lowers.is_empty(), "container {} has no image: {} has no link 0", record.id(), links.display());
    Ok(lowers)
}

/// Mounts a container's files, in a mount namespace of one's own. Returns where. The working directory is another then.
pub fn mount(record: &Record, lowers: &[PathBuf], kept: Kept) -> Result<PathBuf> {
    let links = record.path("lower");
    debug!("chdir({links:?})");
    chdir(&links).with_context(|| format!("changing directory to {}", links.display()))?;
    let names: Vec<_> = (0..lowers.len()).map(|number| number.to_string()).collect();
    let names: Vec<_> = names.iter().map(Path::new).collect();
    // In full: by the id in these, others see in the table of mounts whose they are.
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| record.path(name));
    match kept {
        Kept::ToItsEnd => volatile::mount(&names, &upper, &work, &merged)?,
        Kept::ForLong => overlay::mount(&names, &upper, &work, &merged)?,
    }
    Ok(merged)
}
