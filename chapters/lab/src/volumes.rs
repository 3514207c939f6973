//! Chapter 5: volumes, data of the host that a container works on and that outlives it.

mod data;
mod read_only;
mod specs;
mod targets;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Check;
use crate::runtime::Lab;

pub(crate) const CHECKS: &[&[Check]] = &[data::CHECKS, targets::CHECKS, read_only::CHECKS, specs::CHECKS];

/// `-v SOURCE:REST`
fn volume(source: &Path, rest: &str) -> [OsString; 2] {
    let mut spec = source.as_os_str().to_owned();
    spec.push(":");
    spec.push(rest);
    ["-v".into(), spec]
}

/// A directory on the host with one file, `file`, in it.
fn source(lab: &Lab, name: &str) -> Result<PathBuf> {
    let directory = lab.folder(name)?;
    fs::write(directory.join("file"), "the host's\n").context("writing a file on the host")?;
    Ok(directory)
}
