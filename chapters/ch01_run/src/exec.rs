// ANCHOR: head
//! From our process to the command, with nothing of ours left: execve(2), environ(7), close(2).

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::unistd::{close, dup2_stdin, execve};

use crate::errors::NotStarted;
use crate::signals;
// ANCHOR_END: head

// ANCHOR: path
/// Where commands are looked for inside: Docker's list, whatever PATH the caller has.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// ANCHOR_END: path

// ANCHOR: stdin_from_null
/// Lets the command read an empty stdin instead of the caller's.
pub fn stdin_from_null() -> Result<()> {
    debug!("open(\"/dev/null\"), dup2 to 0");
    let null = File::open("/dev/null").context("opening /dev/null")?;
    dup2_stdin(&null).context("making /dev/null the command's stdin")
}
// ANCHOR_END: stdin_from_null

// ANCHOR: environment
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
// ANCHOR_END: environment

// ANCHOR: exec
/// Becomes the command: `command[0]` is looked for in [`PATH`] unless it has a slash. Returns only
/// if that fails, with [`NotStarted`] in the error.
pub fn exec(command: &[OsString], environment: &[OsString]) -> Result<Infallible> {
    let name = command.first().context("no command given")?;
    let arguments = c_strings(command)?;
    let environment = c_strings(environment)?;
    signals::reset()?;

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
// ANCHOR_END: exec

// ANCHOR: candidates
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
// ANCHOR_END: candidates

// ANCHOR: close_descriptors
/// Closes every descriptor but 0, 1 and 2: our own, and those that our caller let us inherit without knowing.
///
/// Call it in the child, before any path of the container's is followed. A descriptor of the host's is a way
/// out: a link in the image to `/proc/self/fd/4/..` leads to where it was opened. That execve(2) would close
/// it is too late, because it follows its path first.
pub fn close_descriptors() -> Result<()> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").context("listing open descriptors")? {
        let name = entry.context("listing open descriptors")?.file_name();
        open.push(name.to_string_lossy().parse::<RawFd>().with_context(|| format!("descriptor {name:?}"))?);
    }
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        debug!("close({fd})");
        // Whatever owned it here is a copy of the parent's, and is never used or dropped in this process.
        match close(fd) {
            Err(Errno::EBADF) => {} // the one that listed them
            closed => closed.with_context(|| format!("closing descriptor {fd}"))?,
        }
    }
    Ok(())
}
// ANCHOR_END: close_descriptors

// ANCHOR: c_strings
/// Strings as the kernel takes them, ended by a NUL byte.
fn c_strings(strings: &[OsString]) -> Result<Vec<CString>> {
    let to_c = |string: &OsString| {
        CString::new(string.as_bytes()).with_context(|| format!("{string:?} has a NUL byte in it"))
    };
    strings.iter().map(to_c).collect()
}
// ANCHOR_END: c_strings
