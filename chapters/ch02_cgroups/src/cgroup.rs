//! The cgroups of one container, in each hierarchy that its limits need. cgroups(7).

use std::fs::File;

use anyhow::Result;

use crate::group::Group;
use crate::hierarchy::{check_cpuset, find};
use crate::limits::Limits;
use crate::lock;
use crate::rmdir::remove_leftovers;

/// The cgroups of one container: `byhand/<id>` in each hierarchy that its limits need. Dropped, they are
/// removed; let it outlive the container, for only a cgroup without processes can be removed.
#[derive(Debug)]
pub struct Cgroup {
    /// Each with the lock that tells other runs that it is no leftover.
    groups: Vec<(Group, File)>,
}

impl Cgroup {
    /// Makes the cgroups and writes the limits there. With no limits, there is nothing to make.
    pub fn create(id: &str, limits: &Limits) -> Result<Cgroup> {
        let hierarchies = find(&limits.controllers())?;
        check_cpuset(&hierarchies, limits)?;
        let mut groups = Vec::new(); // dropped on the way out if anything fails, which removes what was made
        for hierarchy in hierarchies {
            remove_leftovers(&hierarchy.ours())?;
            let group = Group::new(hierarchy, id);
            let lock = lock::hold(&group.directory, lock::A_MOMENT, || group.make())?;
            group.set(limits)?;
            groups.push((group, lock));
        }
        Ok(Cgroup { groups })
    }

    /// Puts the calling process in. Call it in the child before anything else, so that every page it
    /// touches on the way to the command counts, and the command never runs without its limits.
    pub fn join(&self) -> Result<()> {
        self.groups.iter().try_for_each(|(group, _)| group.join())
    }

    /// How many processes the kernel killed because the memory limit was reached.
    pub fn oom_kills(&self) -> Result<u64> {
        let of_memory = |group: &&Group| group.hierarchy.controllers.contains(&"memory");
        self.groups.iter().map(|(group, _)| group).find(of_memory).map_or(Ok(0), Group::oom_kills)
    }

    /// Removes the cgroups, and tells what Drop could not: why it failed.
    pub fn remove(self) -> Result<()> {
        self.groups.into_iter().try_for_each(|(group, _lock)| group.remove())
    }
}
