//! Programs of others that a check or the doctor needs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::see::{cannot_run, differs};

/// Runs one, which is to succeed, and returns what it prints. Without it, the check cannot be made: it is called `name`, and
/// comes with this package.
pub(crate) fn run(command: &mut Command, name: &str, package: &str) -> Result<Vec<u8>> {
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(127) => output, // the shell's word for what is not there
        _ => return Err(cannot_run(format!("there is no {name} (package {package})"))),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(differs(format!("{name} {}", words.join(" ")), "exit status 0", said))
}

/// A program in PATH, or where root has its own.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"].map(Path::new).map(Path::to_path_buf);
    env::split_paths(&path).chain(more).map(|directory| directory.join(name)).find(|path| path.is_file())
}
