//! What the command may read, and what it must not inherit: dup(2), close(2), proc_pid_fd(5).

use std::fs::{self, File};
use std::io::{stderr, stdin, stdout};
use std::os::fd::RawFd;

use anyhow::{Context, Result, ensure};
use log::debug;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{close, dup2_stdin};

/// Closes every descriptor but 0, 1 and 2: our own, and those that our caller let us inherit without knowing. Refuses
/// a directory on those three.
///
/// Call it in the child, before any path of the container's is followed. A directory of the host's is a way
/// out: a link in the image to `/proc/self/fd/4/..` leads to where it was opened. That execve(2) would close
/// it is too late, because it follows its path first.
pub fn close_others() -> Result<()> {
    ensure_no_directory()?;
    for fd in open_descriptors()?.into_iter().filter(|fd| *fd > 2) {
        debug!("close({fd})");
        // Whatever owned it here is a copy of the parent's, and is never used or dropped in this process.
        match close(fd) {
            Err(Errno::EBADF) => {} // the one that listed them
            closed => closed.with_context(|| format!("closing descriptor {fd}"))?,
        }
    }
    Ok(())
}

/// Refuses a directory on stdin, stdout and stderr.
pub fn ensure_no_directory() -> Result<()> {
    let standard = [("stdin", fstat(stdin())), ("stdout", fstat(stdout())), ("stderr", fstat(stderr()))];
    for (name, data) in standard {
        let mode = data.with_context(|| format!("looking at {name}"))?.st_mode;
        let is_directory = mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        ensure!(!is_directory, "{name} is a directory, and would lead the container to the host's files");
    }
    Ok(())
}

/// The numbers of all descriptors that are open, the one that lists them among them.
pub fn open_descriptors() -> Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").context("listing open descriptors")? {
        let name = entry.context("listing open descriptors")?.file_name();
        open.push(name.to_string_lossy().parse().with_context(|| format!("descriptor {name:?}"))?);
    }
    Ok(open)
}

/// Lets the command read an empty stdin instead of the caller's.
pub fn stdin_from_null() -> Result<()> {
    debug!("open(\"/dev/null\"), dup2 to 0");
    let null = File::open("/dev/null").context("opening /dev/null")?;
    dup2_stdin(&null).context("making /dev/null the command's stdin")
}
