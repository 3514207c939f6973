// ANCHOR: head
//! A cgroup for one container: mkdir(2), a few writes, rmdir(2). cgroups(7).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use log::{debug, error};
// ANCHOR_END: head

// ANCHOR: use_hierarchy
use crate::hierarchy::{self, Hierarchy};
use crate::limits::Limits;
// ANCHOR_END: use_hierarchy
// ANCHOR: use_lock
use crate::lock::{self, directories_in};
// ANCHOR_END: use_lock

// ANCHOR: nothing_to_remove
/// What rmdir(2) says of the directory of all our containers where it is right that it stays, or there is none.
const NOTHING_TO_REMOVE: [ErrorKind; 4] = [
    ErrorKind::NotFound,
    ErrorKind::ResourceBusy,
    ErrorKind::DirectoryNotEmpty,
    ErrorKind::ReadOnlyFilesystem,
];
// ANCHOR_END: nothing_to_remove

// ANCHOR: cgroup
/// The cgroups of one container: `byhand/<id>` in each hierarchy that its limits need. Dropped, they are
/// removed; let it outlive the container, for only a cgroup without processes can be removed.
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
}
// ANCHOR_END: cgroup

// ANCHOR: group
/// The directory in one hierarchy.
#[derive(Debug)]
struct Group {
    hierarchy: Hierarchy,
    directory: PathBuf,
    /// Tells other runs that ours still lives.
    owner: Option<File>,
    removed: bool,
}
// ANCHOR_END: group

// ANCHOR: create
impl Cgroup {
    /// Makes the cgroups and writes the limits there. With no limits, there is nothing to make.
    pub fn create(id: &str, limits: &Limits) -> Result<Cgroup> {
        let hierarchies = hierarchy::find(&limits.controllers())?;
        hierarchy::check_cpuset(&hierarchies, limits)?;
        let mut cgroup = Cgroup { groups: Vec::new() };
        for hierarchy in hierarchies {
            let group = Group::make(hierarchy, id)?;
            let Hierarchy { version, ref controllers, .. } = group.hierarchy;
            let own = version.settings(limits, &group.directory)?;
            for setting in own.into_iter().chain(hierarchy::common_settings(limits)) {
                if controllers.contains(&setting.controller) {
                    write(&group.directory.join(setting.file), &setting.value)?;
                }
            }
            cgroup.groups.push(group);
        }
        Ok(cgroup)
    }
    // ANCHOR_END: create

    // ANCHOR: join
    /// Puts the calling process in. Call it in the child before anything else, so that every page it
    /// touches on the way to the command counts, and the command never runs without its limits.
    pub fn join(&self) -> Result<()> {
        for group in &self.groups {
            // 0 is whoever writes it.
            write(&group.directory.join(group.hierarchy.version.join_file()), "0")?;
        }
        Ok(())
    }
    // ANCHOR_END: join

    // ANCHOR: oom_kills
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
    // ANCHOR_END: oom_kills

    // ANCHOR: remove
    /// Removes the cgroups, and tells what Drop could not: why it failed.
    pub fn remove(mut self) -> Result<()> {
        self.groups.iter_mut().try_for_each(Group::remove)
    }
}
// ANCHOR_END: remove

// ANCHOR: make
impl Group {
    /// Makes `byhand/<id>` in the hierarchy, ready to take limits.
    fn make(hierarchy: Hierarchy, id: &str) -> Result<Group> {
        let directory = hierarchy.root.join("byhand").join(id);
        // A guard before there is anything, so that whatever gets made is removed.
        let mut group = Group { hierarchy, directory, owner: None, removed: false };
        group.make_directories()?;
        Ok(group)
    }
    // ANCHOR_END: make

    // ANCHOR: make_directories
    fn make_directories(&mut self) -> Result<()> {
        let Hierarchy { root, version, controllers } = &self.hierarchy;
        // Other runs are kept out until our directory is made and locked: else one could remove `byhand`, as
        // empty, just before it is made, or take it for a leftover just after.
        let _others = lock::wait_for(root)?;
        let parent = root.join("byhand");
        if exists(&parent)? {
            remove_leftovers(&parent)?;
        } else {
            make_directory(&parent)?;
        }
        make_directory(&self.directory)?;
        self.owner = Some(lock::wait_for(&self.directory)?);
        version.prepare(root, &self.directory, controllers)
    }
    // ANCHOR_END: make_directories

    // ANCHOR: remove_group
    fn remove(&mut self) -> Result<()> {
        self.removed = true; // or at least tried, which is done once
        let _others = lock::wait_for(&self.hierarchy.root)?;
        remove_own(&self.directory)?;
        // The directory of all our containers goes with the last of them.
        let parent = self.hierarchy.root.join("byhand");
        debug!("rmdir({parent:?})");
        match fs::remove_dir(&parent) {
            // Others are in it, or it was never made.
            Err(error) if NOTHING_TO_REMOVE.contains(&error.kind()) => Ok(()),
            removed => removed.with_context(|| format!("removing {}", parent.display())),
        }
    }
}
// ANCHOR_END: remove_group

// ANCHOR: drop
impl Drop for Group {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = self.remove()
        {
            error!("{error:#}");
        }
    }
}
// ANCHOR_END: drop

// ANCHOR: remove_own
/// Removes the cgroup of a container that has ended. A kernel may take a moment after wait(2) to see its last
/// process out (Linux 6.19 does), and says EBUSY until then.
fn remove_own(path: &Path) -> Result<()> {
    for _ in 0..100 {
        match remove_tree(path) {
            Err(error) if is_busy(&error) => sleep(Duration::from_millis(10)),
            removed => return removed,
        }
    }
    remove_tree(path)
}
// ANCHOR_END: remove_own

// ANCHOR: is_busy
fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::ResourceBusy)
}
// ANCHOR_END: is_busy

// ANCHOR: remove_leftovers
/// Removes the cgroups of runs that were killed.
fn remove_leftovers(parent: &Path) -> Result<()> {
    for (directory, _lock) in lock::leftovers(parent)? {
        if let Err(error) = remove_tree(&directory) {
            debug!("left to a later run, for its processes are still dying: {error:#}");
        }
    }
    Ok(())
}
// ANCHOR_END: remove_leftovers

// ANCHOR: remove_tree
/// Removes a cgroup and those that the container made in it; no error if there is none.
fn remove_tree(path: &Path) -> Result<()> {
    match remove_directory(path) {
        // There are others in it, which can be removed, or processes.
        Err(error) if is_busy(&error) => {
            for directory in directories_in(path)? {
                remove_tree(&directory)?;
            }
            remove_directory(path)
        }
        removed => removed,
    }
}

/// Only rmdir(2) works here: the files are the kernel's, and a directory goes with all of them.
fn remove_directory(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Read-only is said before anyone looks whether it is there; and nothing of ours can be.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        removed => removed.with_context(|| format!("removing the cgroup {}", path.display())),
    }
}
// ANCHOR_END: remove_tree

// ANCHOR: exists
/// Whether it is there. An error is no answer: what cannot be seen may be there all the same.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("looking for {}", path.display()))
}
// ANCHOR_END: exists

// ANCHOR: make_directory
fn make_directory(path: &Path) -> Result<()> {
    debug!("mkdir({path:?})");
    fs::create_dir(path).with_context(|| format!("making the cgroup {}", path.display()))
}
// ANCHOR_END: make_directory

// ANCHOR: write
/// Writes one cgroup file in one write(2): each write is a command to the kernel.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    debug!("write({path:?}, {value:?})");
    // Not fs::write, which would make the file if there is none: where that works is no cgroup.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {value:?} to {}", path.display()))
}
// ANCHOR_END: write
