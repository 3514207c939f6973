//! What lies below a container's own files: directories, the topmost first. open(2), proc_pid_fd(5), overlayfs.rst.
//!
//! Whatever somebody types later, wherever they are, the container lies on what it was made on: the record has the paths.
//! They may be long and many, and the options of a mount must fit in one page. So the kernel is told numbers.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch04_overlay::{overlay, volatile};
use log::debug;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::chdir;

use crate::facts;
use crate::record::Record;

/// Where a process finds its own descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";

/// What is to be there after a crash must get to the disk. What goes at its end need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As long as somebody wants it.
    ForLong,
    /// To the container's end.
    ToItsEnd,
}

/// The fact that has them.
pub const FACT: &str = "lowers";

/// A directory of the record, for files that a container gets from its runtime, whatever its image has there. It lies on the
/// image.
pub const GIVEN: &str = "given";

/// What it says.
pub fn fact(lowers: &[PathBuf]) -> Vec<u8> {
    facts::join(lowers.iter().map(|lower| lower.as_os_str().as_bytes()))
}

/// What a record says of them: nothing, if the fact is missing.
pub fn told(record: &Record) -> Result<Vec<PathBuf>> {
    let fact = record.read_bytes(FACT)?.unwrap_or_default();
    Ok(facts::split(&fact).into_iter().map(|lower| OsStr::from_bytes(lower).into()).collect())
}

/// The same, of a container that is to lie on them, and above them what it has been given, if there is something.
pub fn read(record: &Record) -> Result<Vec<PathBuf>> {
    let mut lowers = told(record)?;
    ensure!(!lowers.is_empty(), "container {} has no image: it has no fact {FACT:?}", record.id());
    if record.has(GIVEN)? {
        lowers.insert(0, record.path(GIVEN));
    }
    Ok(lowers)
}

/// Mounts a container's files, in a mount namespace of one's own. Returns where. The working directory is another then.
pub fn mount(record: &Record, lowers: &[PathBuf], kept: Kept) -> Result<PathBuf> {
    let open = |lower: &PathBuf| {
        debug!("open({lower:?}, O_PATH)");
        let opened = fcntl::open(lower, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        opened.with_context(|| format!("opening {}", lower.display()))
    };
    let opened = lowers.iter().map(open).collect::<Result<Vec<_>>>()?;
    // Here each descriptor is a link to what it was opened for, and its name is its number.
    debug!("chdir({DESCRIPTORS:?})");
    chdir(DESCRIPTORS).with_context(|| format!("changing directory to {DESCRIPTORS}"))?;
    let names: Vec<_> = opened.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let names: Vec<_> = names.iter().map(Path::new).collect();
    // In full: by the id in these, others see in the table of mounts whose they are.
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| record.path(name));
    match kept {
        Kept::ToItsEnd => volatile::mount(&names, &upper, &work, &merged)?,
        Kept::ForLong => overlay::mount(&names, &upper, &work, &merged)?,
    }
    Ok(merged)
}
