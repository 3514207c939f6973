//! Where the runtime keeps its files on the host: hier(7).

use std::env;
use std::path::{self, PathBuf};

use anyhow::{Context, Result};

/// The state directory: `$BYHAND_ROOT`, or `/var/lib/byhand`. It need not exist yet.
pub fn root() -> Result<PathBuf> {
    let root = env::var_os("BYHAND_ROOT").filter(|root| !root.is_empty());
    // Absolute, for it is used in mounts, and those outlive a change of directory.
    path::absolute(root.unwrap_or_else(|| "/var/lib/byhand".into())).context("finding the state directory")
}
