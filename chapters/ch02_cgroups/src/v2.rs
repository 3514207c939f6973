//! cgroup v2: one directory tree for all controllers. cgroups(7), and admin-guide/cgroup-v2 of the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::files::{Setting, exists, write};
use crate::limits::{CPU_PERIOD, Limits};

/// A controller is there for a cgroup if it is turned on for the children of each one above it. It stays
/// on: another program may have begun to need it.
pub fn prepare(root: &Path, group: &Path, controllers: &[&str]) -> Result<()> {
    let parent = group.parent().context("a cgroup has a parent")?;
    for above in [root, parent] {
        for controller in controllers {
            write(&above.join("cgroup.subtree_control"), &format!("+{controller}"))
                .context("turning a controller on (EBUSY: is this machine itself a container?)")?;
        }
    }
    Ok(())
}

/// A limit on memory. Swap is counted apart from it here, so none of it makes one limit for both.
pub fn memory(bytes: u64, group: &Path) -> Result<Vec<Setting>> {
    let mut settings = vec![Setting::new("memory", "memory.max", bytes)];
    if exists(&group.join("memory.swap.max"))? {
        settings.push(Setting::new("memory", "memory.swap.max", 0));
    } else {
        ensure!(!has_swap(), "this kernel does not limit swap: swapoff -a, or boot with swapaccount=1");
    }
    Ok(settings)
}

/// Whether this machine can swap at this moment: the list has a line below its heading.
fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1)
}

/// A share of the CPUs, and the most of them.
pub(crate) fn cpu(limits: &Limits) -> Vec<Setting> {
    let weight = limits.cpu_shares.map(|shares| Setting::new("cpu", "cpu.weight", weight(shares)));
    let most = limits.cpu_quota.map(|quota| Setting::new("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}")));
    weight.into_iter().chain(most).collect()
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
