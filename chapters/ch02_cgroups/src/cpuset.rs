//! A new cpuset of cgroup v1, in which there is nothing to run on: cpuset(7), ENOSPC.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::files::write;

/// A new cpuset has no CPUs and no memory nodes, and nobody can join it (ENOSPC) before it has both. Those
/// of the level above are the widest choice, and the one for whatever the user does not set.
pub(crate) fn fill(root: &Path, group: &Path) -> Result<()> {
    let parent = group.parent().context("a cgroup has a parent")?;
    for (above, below) in [(root, parent), (parent, group)] {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let from = above.join(file);
            let value = fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
            write(&below.join(file), value.trim())?;
        }
    }
    Ok(())
}
