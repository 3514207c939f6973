//! cgroup v2: one directory tree for all controllers. cgroups(7), and admin-guide/cgroup-v2 of the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::files::{Setting, exists, write};
use crate::limits::{CPU_PERIOD, Limits};

/// A controller is there for a cgroup if it is turned on for the children of each one above it. It stays
/// on: another program may have begun to need it.
pub(crate) fn prepare(root: &Path, group: &Path, controllers: &[&str]) -> Result<()> {
    let parent = group.parent().context("a cgroup has a parent")?;
    for above in [root, parent] {
        for controller in controllers {
            write(&above.join("cgroup.subtree_control"), &format!("+{controller}"))
                .context("turning a controller on (EBUSY: is this machine itself a container?)")?;
        }
    }
    Ok(())
}

/// Memory and CPU, which this version has files of its own for.
pub(crate) fn settings(limits: &Limits, group: &Path) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: String| settings.push(Setting { controller, file, value });
    if let Some(bytes) = limits.memory {
        set("memory", "memory.max", bytes.to_string());
        // Swap apart from memory here, so none of it makes one limit for both.
        if exists(&group.join("memory.swap.max"))? {
            set("memory", "memory.swap.max", "0".to_string());
        } else {
            ensure!(!has_swap(), "this kernel does not limit swap: swapoff -a, or boot with swapaccount=1");
        }
    }
    if let Some(shares) = limits.cpu_shares {
        set("cpu", "cpu.weight", weight(shares).to_string());
    }
    if let Some(quota) = limits.cpu_quota {
        set("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}"));
    }
    Ok(settings)
}

/// Whether this machine can swap at this moment: the list has a line below its heading.
fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1)
}

/// Shares as a weight. The default of the one is 1024, of the other 100, and what counts is the ratio
/// between containers; so the ratio is kept, as far as the kernel's range of 1 to 10000 goes.
fn weight(shares: u64) -> u64 {
    (shares * 100 / 1024).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_stays_the_default() {
        assert_eq!([2, 512, 1024, 262_144].map(super::weight), [1, 50, 100, 10_000]);
    }
}
