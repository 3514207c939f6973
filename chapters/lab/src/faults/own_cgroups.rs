//! A cgroup tree of a check's own, in the place of the host's: what is in it, this check's runs have made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};

use crate::machine::hierarchy;
use crate::machine::mounts::bind;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;

/// A cgroup in each of some hierarchies, mounted over the hierarchy on the check's host. Dropped, they are removed.
#[derive(Debug)]
pub(super) struct OwnCgroups<'a> {
    lab: &'a Lab,
    trees: Vec<Tree>,
}

#[derive(Debug)]
struct Tree {
    point: PathBuf,
    name: String,
    mounted: bool,
}

impl<'a> OwnCgroups<'a> {
    /// Of those of these controllers that the host has.
    pub(super) fn new(lab: &'a Lab, controllers: &[&str]) -> Result<OwnCgroups<'a>> {
        let mut own = OwnCgroups { lab, trees: Vec::new() };
        let mut points = Vec::new();
        // First all of this, on the host's tree: once ours is mounted over it, it is out of sight.
        for controller in controllers {
            let Some(hierarchy) = hierarchy::of(controller)? else { continue };
            let point = hierarchy.point().to_path_buf();
            let enable = || fs::write(point.join("cgroup.subtree_control"), format!("+{controller}"));
            if hierarchy.v2 {
                enable().with_context(|| format!("enabling the controller {controller}"))?;
            }
            points.push(point);
        }
        for point in points {
            if own.trees.iter().any(|tree| tree.point == point) {
                continue;
            }
            let name = format!("lab-{}-{}", std::process::id(), lab.mark().serial());
            let top = point.join(&name);
            fs::create_dir(&top).with_context(|| format!("making the cgroup {}", top.display()))?;
            own.trees.push(Tree { point: point.clone(), name, mounted: false });
            // A new cpuset of version 1 is empty, and nothing can be taken from it.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs::read(point.join(file)) {
                    fs::write(top.join(file), all).with_context(|| format!("writing {file}"))?;
                }
            }
            bind(&top, &point)?;
            own.trees.iter_mut().for_each(|tree| tree.mounted |= tree.point == point);
        }
        lab.arranged()?;
        Ok(own)
    }

    /// Whether the host has any of the controllers.
    pub(super) fn any(&self) -> bool {
        !self.trees.is_empty()
    }

    /// All cgroups in them.
    pub(super) fn list(&self) -> Vec<PathBuf> {
        let mut list = Vec::new();
        self.trees.iter().for_each(|tree| add_below(&tree.point, &mut list));
        list.sort();
        list
    }
}

impl Drop for OwnCgroups<'_> {
    fn drop(&mut self) {
        for tree in &self.trees {
            if tree.mounted && umount2(&tree.point, MntFlags::MNT_DETACH).is_err() {
                continue; // else we would be looking for it in the wrong place
            }
            let mut all = vec![tree.point.join(&tree.name)];
            add_below(&tree.point.join(&tree.name), &mut all);
            // The kernel may need a moment to see that the last process is gone.
            for cgroup in all.iter().rev() {
                let removed = wait_for(SOON, || Ok(fs::remove_dir(cgroup).is_ok().then_some(())));
                if !matches!(removed, Ok(Some(()))) {
                    eprintln!("lab: the cgroup {} could not be removed", cgroup.display());
                }
            }
        }
        let _ = self.lab.arranged(); // as the host was before
    }
}

/// Adds the directories below a directory, each before those in it.
fn add_below(directory: &Path, list: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list.push(entry.path());
            add_below(&entry.path(), list);
        }
    }
}

/// Fails unless a list of paths is as it was.
pub(super) fn same_paths(did: &str, what: &str, before: &[PathBuf], now: &[PathBuf]) -> Result<()> {
    let new: Vec<_> = now.iter().filter(|path| !before.contains(path)).collect();
    let gone: Vec<_> = before.iter().filter(|path| !now.contains(path)).collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    Err(see::differs(did, format!("{what} as before"), format!("new: {new:?}, gone: {gone:?}")))
}
