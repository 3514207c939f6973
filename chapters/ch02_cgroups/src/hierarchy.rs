// ANCHOR: head
//! Where this host has its cgroup controllers, and in which version: cgroups(7), proc_pid_mountinfo(5).

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::limits::{Limits, NumberList};
use crate::mountinfo::{self, Mount};
// ANCHOR_END: head
// ANCHOR: use_versions
use crate::{v1, v2};
// ANCHOR_END: use_versions

// ANCHOR: setting
/// One file to write in a cgroup, for one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller that the file belongs to.
    pub controller: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// What to write there.
    pub value: String,
}
// ANCHOR_END: setting

// ANCHOR: version
/// In what the two versions differ.
pub trait Version: Debug {
    /// The file that takes the process id of a new member.
    fn join_file(&self) -> &'static str;

    /// The file with the line `oom_kill N`.
    fn oom_file(&self) -> &'static str;

    /// The file that lists the CPUs or memory nodes a cgroup has: of `cpuset.cpus` or `cpuset.mems`.
    fn effective(&self, file: &str) -> String;

    /// Makes the new directory `group`, in a directory of ours in `root`, ready to be written to and joined.
    fn prepare(&self, root: &Path, group: &Path, controllers: &[&str]) -> Result<()>;

    /// What to write for memory and CPU, to which file of `group`, in this order.
    fn settings(&self, limits: &Limits, group: &Path) -> Result<Vec<Setting>>;
}
// ANCHOR_END: version

// ANCHOR: hierarchy
/// A mounted cgroup file system, and those of its controllers that we use.
#[derive(Debug)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub root: PathBuf,
    /// How its files are called.
    pub version: &'static dyn Version,
    /// For example `memory`.
    pub controllers: Vec<&'static str>,
}
// ANCHOR_END: hierarchy

// ANCHOR: common_settings
/// What to write to files that both versions call the same.
pub fn common_settings(limits: &Limits) -> Vec<Setting> {
    let cpus = limits.cpuset_cpus.as_ref().map(|list| ("cpuset", "cpuset.cpus", list.text.clone()));
    let mems = limits.cpuset_mems.as_ref().map(|list| ("cpuset", "cpuset.mems", list.text.clone()));
    let pids = limits.pids.map(|most| ("pids", "pids.max", most.to_string()));
    let settings = [cpus, mems, pids].into_iter().flatten();
    settings.map(|(controller, file, value)| Setting { controller, file, value }).collect()
}
// ANCHOR_END: common_settings

// ANCHOR: find
/// Finds each of these controllers. A v1 controller has a mount of its own, or shares one, as cpu and cpuacct
/// often do; a v2 controller is named in the file `cgroup.controllers` of the one mount for all. Some hosts
/// have some of each.
pub fn find(controllers: &[&'static str]) -> Result<Vec<Hierarchy>> {
    if controllers.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = mountinfo::read()?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for controller in controllers {
        let on_v1 = |mount: &&Mount| {
            mount.filesystem == "cgroup" && mount.super_options.split(',').any(|option| option == *controller)
        };
        let on_v2 = |mount: &&Mount| {
            let offered = || fs::read_to_string(mount.target.join("cgroup.controllers")).unwrap_or_default();
            mount.filesystem == "cgroup2" && offered().split_whitespace().any(|name| name == *controller)
        };
        let (mount, version): (_, &'static dyn Version) = if let Some(mount) = mounts.iter().find(on_v1) {
            (mount, &v1::V1)
        } else if let Some(mount) = mounts.iter().find(on_v2) {
            (mount, &v2::V2)
        } else {
            bail!("no cgroup v1 or v2 tree here has a controller {controller:?} (see `cargo lab doctor`)");
        };
        match found.iter_mut().find(|hierarchy| hierarchy.root == mount.target) {
            Some(hierarchy) => hierarchy.controllers.push(controller),
            None => {
                let root = mount.target.clone();
                found.push(Hierarchy { root, version, controllers: vec![*controller] });
            }
        }
    }
    Ok(found)
}
// ANCHOR_END: find

// ANCHOR: check_cpuset
/// Refuses CPUs and memory nodes that the host has not got. The kernel would say EINVAL or ERANGE when they are
/// written, or, in version 2, quietly use others.
pub fn check_cpuset(hierarchies: &[Hierarchy], limits: &Limits) -> Result<()> {
    let Some(hierarchy) = hierarchies.iter().find(|h| h.controllers.contains(&"cpuset")) else {
        return Ok(());
    };
    let lists =
        [("cpuset.cpus", &limits.cpuset_cpus, "CPU"), ("cpuset.mems", &limits.cpuset_mems, "memory node")];
    for (file, wanted, what) in lists {
        let Some(wanted) = wanted else { continue };
        let path = hierarchy.root.join(hierarchy.version.effective(file));
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let here: NumberList = text.trim().parse().with_context(|| format!("parsing {}", path.display()))?;
        if let Some(missing) = wanted.numbers.difference(&here.numbers).next() {
            bail!("there is no {what} {missing}: this host has {}", here.text);
        }
    }
    Ok(())
}
// ANCHOR_END: check_cpuset
