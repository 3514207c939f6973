//! cgroup v1: a directory tree for each controller. cgroups(7), and admin-guide/cgroup-v1 of the kernel.

use std::path::Path;

use anyhow::Result;

use crate::files::{Setting, exists};
use crate::limits::{CPU_PERIOD, Limits};

/// A limit on memory, and one on memory and swap together. That may not be less than memory alone, so it comes second.
pub(crate) fn memory(bytes: u64, group: &Path) -> Result<Vec<Setting>> {
    let both = "memory.memsw.limit_in_bytes";
    let second = if exists(&group.join(both))? {
        Setting::new("memory", both, bytes)
    } else {
        // This kernel does not count swap. Not swapping when the limit is reached comes nearest.
        Setting::new("memory", "memory.swappiness", 0)
    };
    Ok(vec![Setting::new("memory", "memory.limit_in_bytes", bytes), second])
}

/// A share of the CPUs, and the most of them.
pub(crate) fn cpu(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(shares) = limits.cpu_shares {
        settings.push(Setting::new("cpu", "cpu.shares", shares));
    }
    if let Some(quota) = limits.cpu_quota {
        settings.push(Setting::new("cpu", "cpu.cfs_period_us", CPU_PERIOD));
        settings.push(Setting::new("cpu", "cpu.cfs_quota_us", quota));
    }
    settings
}
