//! Where the runtime keeps its files on the host: hier(7), mkdir(2).

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;

/// The state directory: `$BYHAND_ROOT`, or `/var/lib/byhand`. It need not exist yet.
pub fn root() -> Result<PathBuf> {
    let root = env::var_os("BYHAND_ROOT").filter(|root| !root.is_empty());
    // Absolute, for it is used in mounts, and those outlive a change of directory.
    path::absolute(root.unwrap_or_else(|| "/var/lib/byhand".into())).context("finding the state directory")
}

/// Makes a directory that must be new.
pub fn make_directory(path: &Path, mode: u32) -> Result<()> {
    debug!("mkdir({path:?}, 0{mode:o})");
    let made = DirBuilder::new().mode(mode).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}

/// Makes a directory and those above it, unless they are there; of mode 755.
pub fn make_directories(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}
