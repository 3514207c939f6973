//! The directory in which a command begins: mkdir(2), chdir(2), getcwd(3).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch01_run::errors::NotStarted;
use log::debug;
use nix::unistd::{chdir, getcwd};

/// One `-w DIR`.
pub fn parse(text: &str) -> Result<PathBuf> {
    ensure!(Path::new(text).is_absolute(), "the directory must be an absolute path");
    Ok(text.into())
}

/// Makes it, and those above it, where they are missing: root's, for all to read. Call it inside the container's root.
pub fn make(directory: &Path) -> Result<()> {
    debug!("mkdir({directory:?}, 0755)");
    let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
    made.with_context(|| format!("making the directory {}", directory.display()))
}

/// Goes there. Call it inside the container's root, with all descriptors closed that are not the command's.
pub fn enter(directory: &Path) -> Result<()> {
    debug!("chdir({directory:?})");
    let entering = || format!("changing directory to {}", directory.display());
    chdir(directory).context(NotStarted::NotExecutable).with_context(entering)?;
    // The path may lead through /proc to a directory that some process has open, and that is outside. There is no way
    // from the root to such a one, and then the kernel gives it no absolute path (CVE-2024-21626).
    let here = getcwd().ok().filter(|path| path.is_absolute());
    here.map(drop)
        .context("it is outside of the container")
        .context(NotStarted::NotExecutable)
        .with_context(entering)
}
