//! A cgroup for one container: mkdir(2), a few writes, rmdir(2). cgroups(7).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use log::{debug, error};

use crate::files::{is_busy, make_group, remove_group, write};
use crate::hierarchy::{self, Hierarchy};
use crate::limits::Limits;
use crate::lock;

/// What rmdir(2) says of the directory of all our containers where it is right that it stays, or there is none.
const NOTHING_TO_REMOVE: [ErrorKind; 4] = [
    ErrorKind::NotFound,
    ErrorKind::ResourceBusy,
    ErrorKind::DirectoryNotEmpty,
    ErrorKind::ReadOnlyFilesystem,
];

/// The cgroups of one container: `byhand/<id>` in each hierarchy that its limits need. Dropped, they are
/// removed; let it outlive the container, for only a cgroup without processes can be removed.
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
}

/// The directory in one hierarchy.
#[derive(Debug)]
struct Group {
    hierarchy: Hierarchy,
    directory: PathBuf,
    /// Tells other runs that ours still lives.
    owner: Option<File>,
}

impl Cgroup {
    /// Makes the cgroups and writes the limits there. With no limits, there is nothing to make.
    pub fn create(id: &str, limits: &Limits) -> Result<Cgroup> {
        let hierarchies = hierarchy::find(&limits.controllers())?;
        hierarchy::check_cpuset(&hierarchies, limits)?;
        let mut cgroup = Cgroup { groups: Vec::new() };
        for hierarchy in hierarchies {
            remove_leftovers(&hierarchy.ours())?;
            let group = Group::make(hierarchy, id)?;
            for setting in group.hierarchy.settings(limits, &group.directory)? {
                write(&group.directory.join(setting.file), &setting.value)?;
            }
            cgroup.groups.push(group);
        }
        Ok(cgroup)
    }

    /// Puts the calling process in. Call it in the child before anything else, so that every page it
    /// touches on the way to the command counts, and the command never runs without its limits.
    pub fn join(&self) -> Result<()> {
        for group in &self.groups {
            // 0 is whoever writes it.
            write(&group.directory.join(group.hierarchy.version.join_file()), "0")?;
        }
        Ok(())
    }

    /// How many processes the kernel killed because the memory limit was reached.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(group) = self.groups.iter().find(|g| g.hierarchy.controllers.contains(&"memory")) else {
            return Ok(0);
        };
        let file = group.directory.join(group.hierarchy.version.oom_file());
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap_or("0").parse().with_context(|| format!("parsing {}", file.display()))
    }

    /// Removes the cgroups, and tells what Drop could not: why it failed.
    pub fn remove(mut self) -> Result<()> {
        self.groups.drain(..).try_for_each(|group| ManuallyDrop::new(group).take_away()) // Drop does not try again
    }
}

impl Group {
    /// Makes `byhand/<id>` in the hierarchy, ready to take limits.
    fn make(hierarchy: Hierarchy, id: &str) -> Result<Group> {
        let directory = hierarchy.ours().join(id);
        // A guard before there is anything, so that whatever gets made is removed.
        let mut group = Group { hierarchy, directory, owner: None };
        let owner = lock::hold(&group.directory, lock::A_MOMENT, || make_group(&group.directory))?;
        group.owner = Some(owner);
        let Hierarchy { root, version, controllers } = &group.hierarchy;
        version.prepare(root, &group.directory, controllers)?;
        Ok(group)
    }

    fn take_away(&self) -> Result<()> {
        remove_own(&self.directory)?;
        // The directory of all our containers goes with the last of them.
        let ours = self.hierarchy.ours();
        debug!("rmdir({ours:?})");
        match fs::remove_dir(&ours) {
            // Others are in it, or it was never made.
            Err(error) if NOTHING_TO_REMOVE.contains(&error.kind()) => Ok(()),
            removed => removed.with_context(|| format!("removing {}", ours.display())),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            error!("{error:#}");
        }
    }
}

/// Removes the cgroup of a container that has ended. A kernel may take a moment after wait(2) to see its last
/// process out (Linux 6.19 does), and says EBUSY until then.
fn remove_own(path: &Path) -> Result<()> {
    for _ in 0..100 {
        match remove_group(path) {
            Err(error) if is_busy(&error) => sleep(Duration::from_millis(10)),
            removed => return removed,
        }
    }
    remove_group(path)
}

/// Removes the cgroups of runs that were killed.
fn remove_leftovers(ours: &Path) -> Result<()> {
    lock::for_each_abandoned(ours, |directory| match remove_group(directory) {
        Err(error) if is_busy(&error) => {
            debug!("left to a later run, for its processes are still dying: {error:#}");
            Ok(())
        }
        removed => removed,
    })
}
