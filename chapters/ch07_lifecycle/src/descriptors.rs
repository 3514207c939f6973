//! Closing all but a few: close_range(2), close(2), proc_pid_fd(5).

use std::os::fd::RawFd;

use anyhow::{Context, Result};
use ch01_run::descriptors::{ensure_no_directory, open_descriptors};
use log::debug;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::close;

/// Closes every descriptor but 0, 1 and 2, and those in `kept`, which are pipes or sockets of ours that execve(2) closes.
///
/// Call it in the child, before any path of the container's is followed, for the reason that chapter 1 has:
/// [`ch01_run::descriptors::close_others`].
pub fn close_others_but(kept: &[RawFd]) -> Result<()> {
    ensure_no_directory()?;
    let mut kept: Vec<_> = kept.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.iter().copied().chain([RawFd::MAX]) {
        match close_range(first, fd - 1) {
            Err(Errno::ENOSYS) => return close_each(&kept), // before Linux 5.9
            closed => closed.with_context(|| format!("closing the descriptors from {first} on"))?,
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// From `first` to `last`, if that is anything.
fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    debug!("close_range({first}, {last})");
    // SAFETY: whatever owned one of them here is a copy of the parent's, and is never used or dropped in this process.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// One by one, as /proc lists them.
fn close_each(kept: &[RawFd]) -> Result<()> {
    for fd in open_descriptors()?.into_iter().filter(|fd| *fd > 2 && !kept.contains(fd)) {
        debug!("close({fd})");
        match close(fd) {
            Err(Errno::EBADF) => {} // the one that listed them
            closed => closed.with_context(|| format!("closing descriptor {fd}"))?,
        }
    }
    Ok(())
}
