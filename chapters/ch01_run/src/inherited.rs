//! What a program gets from whoever starts it, and must not depend on: umask(2), signal(7).

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

use crate::signals;

/// Gives this process, and with it the container, what most callers would have given it. Call it first.
///
/// - The umask: new files are 644 and new directories 755, and not secret or open to all by accident.
/// - SIGCHLD: a caller that ignored it would leave us that, and then the kernel would reap our children
///   itself, and we could not learn how they ended.
/// - SIGXFSZ: a file that grows over the caller's limit (`ulimit -f`) is an error then, and no sudden death.
/// - /proc: much of what follows looks there, the undoing too, and so nothing is begun without it.
pub fn normalize() -> Result<()> {
    fs::metadata("/proc/self").context("looking at /proc (is it mounted? mount -t proc proc /proc)")?;
    umask(Mode::from_bits_truncate(0o022));
    signals::set_default(Signal::SIGCHLD)?;
    signals::ignore(Signal::SIGXFSZ)
}
