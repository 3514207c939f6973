//! From our process to the command: execve(2), environ(7).

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::unistd::execve;

use crate::errors::NotStarted;
use crate::signals;

/// Where commands are inside: Docker's list, whatever PATH the caller has.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// Becomes the command: `command[0]` is looked for in the PATH of its environment unless it has a slash. Returns
/// only if that fails, with [`NotStarted`] in the error.
pub fn exec(command: &[OsString], environment: &[OsString]) -> Result<Infallible> {
    let name = command.first().context("no command given")?;
    let arguments = c_strings(command)?;
    let path = environment.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    let candidates = candidates(name, path.unwrap_or_default());
    let environment = c_strings(environment)?;
    signals::reset()?;

    // The kernel itself is asked for each candidate: nothing else knows so well what it can execute.
    let mut refused = None;
    for path in candidates {
        debug!("execve({path:?}, {command:?})");
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        let Err(errno) = execve(&c_path, &arguments, &environment);
        // ENOENT can also mean that the file is there and the interpreter or loader it names is not.
        let absent = matches!(errno, Errno::ENOENT | Errno::ENOTDIR) && !path.exists();
        if !absent {
            refused.get_or_insert(errno);
        }
    }
    Err(failure(refused)).with_context(|| format!("executing {name:?}"))
}

/// Why no candidate could be executed. The first refusal counts, if there was one.
fn failure(refused: Option<Errno>) -> anyhow::Error {
    let Some(errno) = refused else { return NotStarted::NotFound.into() };
    let mut error = anyhow::Error::new(errno);
    if errno == Errno::ENOENT {
        error = error.context("the interpreter or loader that it names is missing");
    }
    error.context(NotStarted::NotExecutable)
}

/// The paths at which a command may be, in order.
fn candidates(name: &OsStr, path: &[u8]) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new(); // else every directory of PATH would be a candidate
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    path.split(|byte| *byte == b':')
        .map(|directory| Path::new(OsStr::from_bytes(directory)).join(name))
        .collect()
}

/// Strings as the kernel takes them, ended by a NUL byte.
pub fn c_strings(strings: &[OsString]) -> Result<Vec<CString>> {
    let to_c = |string: &OsString| {
        CString::new(string.as_bytes()).with_context(|| format!("{string:?} has a NUL byte in it"))
    };
    strings.iter().map(to_c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_loader_is_told() {
        let told = |errno| format!("{:#}", failure(Some(errno)));
        assert!(told(Errno::ENOENT).contains("interpreter or loader"));
        assert!(!told(Errno::EACCES).contains("interpreter or loader"));
    }
}
