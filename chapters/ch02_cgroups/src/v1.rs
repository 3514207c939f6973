//! cgroup v1: a directory tree for each controller. cgroups(7), and admin-guide/cgroup-v1 of the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cgroup::{Setting, write};
use crate::limits::{CPU_PERIOD, Limits};

/// The file that takes a process id to move one thread. A process with one thread is moved whole, and
/// moving itself this way it skips a lock that `cgroup.procs` takes and that can cost 10 ms.
pub const JOIN: &str = "tasks";

/// The file with the line `oom_kill N`.
pub const OOM: &str = "memory.oom_control";

/// The files of the directory `group`, and what to write there, in this order.
pub fn settings(limits: &Limits, group: &Path) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: String| settings.push(Setting { controller, file, value });
    if let Some(bytes) = limits.memory {
        set("memory", "memory.limit_in_bytes", bytes.to_string());
        // Memory and swap together. It may not be less than memory alone, so it comes second. A kernel
        // that does not count swap has no such file; there, no swapping at all gives the same limit.
        if group.join("memory.memsw.limit_in_bytes").exists() {
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
    if let Some(list) = &limits.cpuset_cpus {
        set("cpuset", "cpuset.cpus", list.text.clone());
    }
    if let Some(list) = &limits.cpuset_mems {
        set("cpuset", "cpuset.mems", list.text.clone());
    }
    if let Some(most) = limits.pids {
        set("pids", "pids.max", most.to_string());
    }
    settings
}

/// Makes a new directory `group` usable: a new cpuset has no CPUs and no memory nodes, and no process can
/// join it (ENOSPC) before it has both. Those of the parent are the widest choice.
pub fn inherit_cpuset(group: &Path) -> Result<()> {
    let parent = group.parent().context("a cgroup has a parent")?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(parent.join(file))
            .with_context(|| format!("reading {}", parent.join(file).display()))?;
        write(&group.join(file), value.trim())?;
    }
    Ok(())
}
