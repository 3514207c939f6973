//! In what cgroup v1 and v2 differ: three names, and what is written where. cgroups(7).

use std::path::Path;

use anyhow::Result;

use crate::cpuset;
use crate::files::Setting;
use crate::limits::Limits;
use crate::{v1, v2};

/// The two interfaces that the kernel has to the same controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A directory tree for each controller, since 2007.
    V1,
    /// One tree for all of them, since 2016.
    V2,
}

impl Version {
    /// The file that takes the process id of a new member.
    pub fn join_file(self) -> &'static str {
        match self {
            // Unlike `cgroup.procs`, which v1 has too, this file moves one thread, and a process of one thread is
            // moved whole. When a thread moves itself that way, the kernel (since 5.5) lets everyone go on forking.
            // For any other move it has to stop them, and that alone often takes 10 ms.
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        }
    }

    /// A limit on memory: what to write, to which file of `group`, in this order.
    pub fn memory(self, bytes: u64, group: &Path) -> Result<Vec<Setting>> {
        match self {
            Version::V1 => v1::memory(bytes, group),
            Version::V2 => v2::memory(bytes, group),
        }
    }

    /// The file with the line `oom_kill N`.
    pub fn oom_file(self) -> &'static str {
        match self {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        }
    }

    /// Makes the new directory `group`, in a directory of ours in `root`, ready to be written to and joined.
    pub fn prepare(self, root: &Path, group: &Path, controllers: &[&str]) -> Result<()> {
        match self {
            Version::V1 if controllers.contains(&"cpuset") => cpuset::fill(root, group),
            Version::V1 => Ok(()),
            Version::V2 => v2::prepare(root, group, controllers),
        }
    }

    /// What to write for all the limits, to which file of `group`, in this order.
    pub fn settings(self, limits: &Limits, group: &Path) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        if let Some(bytes) = limits.memory {
            settings.extend(self.memory(bytes, group)?);
        }
        settings.extend(match self {
            Version::V1 => v1::cpu(limits),
            Version::V2 => v2::cpu(limits),
        });
        settings.extend(alike(limits));
        Ok(settings)
    }

    /// The file that lists the CPUs or memory nodes a cgroup has: of `cpuset.cpus` or `cpuset.mems`.
    pub fn effective(self, file: &str) -> String {
        match self {
            Version::V1 => file.to_string(),
            Version::V2 => format!("{file}.effective"),
        }
    }
}

/// What both versions call the same.
fn alike(limits: &Limits) -> impl Iterator<Item = Setting> {
    let cpus = limits.cpuset_cpus.as_ref().map(|list| Setting::new("cpuset", "cpuset.cpus", &list.text));
    let mems = limits.cpuset_mems.as_ref().map(|list| Setting::new("cpuset", "cpuset.mems", &list.text));
    let pids = limits.pids.map(|most| Setting::new("pids", "pids.max", most));
    [cpus, mems, pids].into_iter().flatten()
}
