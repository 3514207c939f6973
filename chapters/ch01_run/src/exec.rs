//! From our process to the command, with nothing of ours left: execve(2), environ(7), fcntl(2).

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{dup2_stdin, execve};

use crate::errors::NotStarted;
use crate::signals;

/// Where commands are looked for inside: Docker's list, whatever PATH the caller has.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lets the command read an empty stdin instead of the caller's.
pub fn stdin_from_null() -> Result<()> {
    let null = File::open("/dev/null").context("opening /dev/null")?;
    dup2_stdin(&null).context("making /dev/null the command's stdin")
}

/// The whole environment of a command: four variables, and only TERM from the caller's.
pub fn environment(hostname: &OsStr) -> Vec<OsString> {
    let term = std::env::var_os("TERM").unwrap_or_else(|| "xterm".into());
    let variable = |name: &str, value: &OsStr| [OsStr::new(name), value].join(OsStr::new("="));
    vec![
        variable("PATH", OsStr::new(PATH)),
        variable("HOME", OsStr::new("/root")),
        variable("TERM", &term),
        variable("HOSTNAME", hostname),
    ]
}

/// Becomes the command: `command[0]` is looked for in [`PATH`] unless it has a slash. Returns only
/// if that fails, with [`NotStarted`] in the error.
pub fn exec(command: &[OsString], environment: &[OsString]) -> Result<Infallible> {
    let name = command.first().context("no command given")?;
    let arguments = c_strings(command)?;
    let environment = c_strings(environment)?;
    signals::reset()?;
    close_descriptors_on_exec()?;

    // The kernel itself is asked for each candidate: nothing else knows so well what it can execute.
    let mut refused = None;
    for path in candidates(name) {
        debug!("execve({path:?}, {command:?})");
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        let Err(errno) = execve(&c_path, &arguments, &environment);
        // ENOENT can also mean that the file is there and the interpreter or loader it names is not.
        let absent = matches!(errno, Errno::ENOENT | Errno::ENOTDIR) && path.symlink_metadata().is_err();
        if !absent {
            refused.get_or_insert(errno);
        }
    }
    match refused {
        None => Err(NotStarted::NotFound.into()),
        Some(Errno::ENOENT) => Err(Errno::ENOENT)
            .context("the interpreter or loader that it names is missing")
            .context(NotStarted::NotExecutable),
        Some(errno) => Err(errno).context(NotStarted::NotExecutable),
    }
    .with_context(|| format!("executing {name:?}"))
}

/// The paths at which a command may be, in order.
fn candidates(name: &OsStr) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new(); // else every directory of PATH would be a candidate
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    PATH.split(':').map(|directory| Path::new(directory).join(name)).collect()
}

/// Marks every descriptor but 0, 1 and 2 to be closed by execve: our own, and those that our caller
/// let us inherit without knowing. An open directory of the host would be a way out of the container.
fn close_descriptors_on_exec() -> Result<()> {
    for entry in fs::read_dir("/proc/self/fd").context("listing open descriptors")? {
        let name = entry.context("listing open descriptors")?.file_name();
        let fd: RawFd = name.to_string_lossy().parse().with_context(|| format!("descriptor {name:?}"))?;
        if fd > 2 {
            // SAFETY: it is open, as /proc just said, and is borrowed for this one call; a flag that
            // acts at exec takes nothing from its owner.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
                .with_context(|| format!("marking descriptor {fd:?} to be closed"))?;
        }
    }
    Ok(())
}

/// Strings as the kernel takes them, ended by a NUL byte.
fn c_strings(strings: &[OsString]) -> Result<Vec<CString>> {
    let to_c = |string: &OsString| {
        CString::new(string.as_bytes()).with_context(|| format!("{string:?} has a NUL byte in it"))
    };
    strings.iter().map(to_c).collect()
}
