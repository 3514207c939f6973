//! What the host gives to a container, and the option that says so.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::trial::runtime::Lab;

/// `-v SOURCE:REST`
pub(crate) fn volume(source: &Path, rest: &str) -> [OsString; 2] {
    let mut spec = source.as_os_str().to_owned();
    spec.push(":");
    spec.push(rest);
    ["-v".into(), spec]
}

/// A directory on the host with one file, `file`, in it.
pub(super) fn source(lab: &Lab, name: &str) -> Result<PathBuf> {
    let directory = lab.folder(name)?;
    fs::write(directory.join("file"), "the host's\n").context("writing a file on the host")?;
    Ok(directory)
}
