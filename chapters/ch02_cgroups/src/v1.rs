//! cgroup v1: a directory tree for each controller. cgroups(7), and admin-guide/cgroup-v1 of the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::files::{Setting, exists, write};
use crate::limits::{CPU_PERIOD, Limits};

/// A new cpuset has no CPUs and no memory nodes, and nobody can join it (ENOSPC) before it has both. Those
/// of the level above are the widest choice, and the one for whatever the user does not set.
pub(crate) fn prepare(root: &Path, group: &Path, controllers: &[&str]) -> Result<()> {
    if controllers.contains(&"cpuset") {
        let parent = group.parent().context("a cgroup has a parent")?;
        for (above, below) in [(root, parent), (parent, group)] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let from = above.join(file);
                let value =
                    fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
                write(&below.join(file), value.trim())?;
            }
        }
    }
    Ok(())
}

/// Memory and CPU, which this version has files of its own for.
pub(crate) fn settings(limits: &Limits, group: &Path) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: String| settings.push(Setting { controller, file, value });
    if let Some(bytes) = limits.memory {
        set("memory", "memory.limit_in_bytes", bytes.to_string());
        // Memory and swap together. It may not be less than memory alone, so it comes second. A kernel
        // that does not count swap has no such file; there, not swapping when the limit is reached comes nearest.
        if exists(&group.join("memory.memsw.limit_in_bytes"))? {
            set("memory", "memory.memsw.limit_in_bytes", bytes.to_string());
        } else {
            set("memory", "memory.swappiness", "0".to_string());
        }
    }
    if let Some(shares) = limits.cpu_shares {
        set("cpu", "cpu.shares", shares.to_string());
    }
    if let Some(quota) = limits.cpu_quota {
        set("cpu", "cpu.cfs_period_us", CPU_PERIOD.to_string());
        set("cpu", "cpu.cfs_quota_us", quota.to_string());
    }
    Ok(settings)
}
