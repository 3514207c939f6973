//! Where this host has its cgroup controllers, and in which version: cgroups(7), proc_pid_mountinfo(5).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::limits::Limits;
use crate::mountinfo::{self, Mount};
use crate::numbers::NumberList;
use crate::version::Version;

/// A mounted cgroup file system, and those of its controllers that we use.
#[derive(Debug)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub root: PathBuf,
    /// How its files are called.
    pub version: Version,
    /// For example `memory`.
    pub controllers: Vec<&'static str>,
}

impl Hierarchy {
    /// The directory of all our containers in it.
    pub fn ours(&self) -> PathBuf {
        self.root.join("byhand")
    }
}

/// Finds each of these controllers. Two that share a mount share a [`Hierarchy`].
pub fn find(controllers: &[&'static str]) -> Result<Vec<Hierarchy>> {
    if controllers.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = mountinfo::read()?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for controller in controllers {
        let (mount, version) = place(&mounts, controller)?;
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

/// Where this host has a controller. Some hosts have some on v1, and others on v2.
fn place<'a>(mounts: &'a [Mount], controller: &str) -> Result<(&'a Mount, Version)> {
    if let Some(mount) = mounts.iter().find(|mount| has_on_v1(mount, controller)) {
        Ok((mount, Version::V1))
    } else if let Some(mount) = mounts.iter().find(|mount| has_on_v2(mount, controller)) {
        Ok((mount, Version::V2))
    } else {
        bail!("no cgroup v1 or v2 tree here has a controller {controller:?} (see `cargo lab doctor`)")
    }
}

/// A v1 controller has a mount of its own, or shares one, as cpu and cpuacct often do.
fn has_on_v1(mount: &Mount, controller: &str) -> bool {
    mount.filesystem == "cgroup"
        && mount.super_options.split(',').any(|option| option == controller)
        && mount.is_visible()
}

/// A v2 controller is named in the file `cgroup.controllers` of the one mount for all.
fn has_on_v2(mount: &Mount, controller: &str) -> bool {
    let offered = || fs::read_to_string(mount.target.join("cgroup.controllers")).unwrap_or_default();
    mount.filesystem == "cgroup2"
        && mount.is_visible()
        && offered().split_whitespace().any(|name| name == controller)
}

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
