//! cgroup v2: one directory tree for all controllers. cgroups(7), and admin-guide/cgroup-v2 of the kernel.

use std::path::Path;

use anyhow::Result;

use crate::cgroup::{Setting, write};
use crate::limits::{CPU_PERIOD, Limits};

/// The file that takes a process id to move a process.
pub const JOIN: &str = "cgroup.procs";

/// The file with the line `oom_kill N`.
pub const OOM: &str = "memory.events";

/// The files of a cgroup, and what to write there.
pub fn settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: String| settings.push(Setting { controller, file, value });
    if let Some(bytes) = limits.memory {
        set("memory", "memory.max", bytes.to_string());
        // Swap apart from memory here, so none of it makes one limit for both. A kernel that cannot
        // swap has no such file, and no /proc/swaps either.
        if Path::new("/proc/swaps").exists() {
            set("memory", "memory.swap.max", "0".to_string());
        }
    }
    if let Some(shares) = limits.cpu_shares {
        set("cpu", "cpu.weight", weight(shares).to_string());
    }
    if let Some(quota) = limits.cpu_quota {
        set("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}"));
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

/// Shares as a weight. The default of the one is 1024, of the other 100, and what counts is the ratio
/// between containers; so the ratio is kept, as far as the kernel's range of 1 to 10000 goes.
fn weight(shares: u64) -> u64 {
    (shares * 100 / 1024).clamp(1, 10_000)
}

/// Turns a controller on for the children of `parent`. It must be on in every cgroup from the root
/// down, and stays on: another program may have begun to need it.
pub fn enable(parent: &Path, controller: &str) -> Result<()> {
    write(&parent.join("cgroup.subtree_control"), &format!("+{controller}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_stays_the_default() {
        assert_eq!([2, 512, 1024, 262_144].map(super::weight), [1, 50, 100, 10_000]);
    }
}
