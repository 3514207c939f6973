//! Where the host keeps each controller's cgroups, v1 or v2: cgroups(7).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::machine::mounts;
use crate::machine::process::Process;
use crate::see::{self, cannot_run, wait_for};

/// The directory below which the chapters have the cgroups of all containers.
const PARENT: &str = "byhand";

/// A mounted hierarchy of cgroups with one controller that is of interest.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchy {
    controller: String,
    pub(crate) v2: bool,
    point: PathBuf,
    /// Which cgroup is seen at `point`: not `/` if this host is itself a container.
    root: String,
}

/// The hierarchy of a controller, if the host has it.
pub(crate) fn of(controller: &str) -> Result<Option<Hierarchy>> {
    for mount in mounts::table()? {
        let point = PathBuf::from(&mount.point);
        let v2 = mount.filesystem == "cgroup2";
        let has = |list: &str, separator: char| list.split(separator).any(|one| one.trim() == controller);
        let found = match mount.filesystem.as_str() {
            "cgroup" => has(&mount.super_options, ','),
            "cgroup2" => has(&fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default(), ' '),
            _ => false,
        };
        if found {
            return Ok(Some(Hierarchy { controller: controller.to_string(), v2, point, root: mount.root }));
        }
    }
    Ok(None)
}

/// The hierarchy of a controller that the check cannot do without.
pub(crate) fn required(controller: &str) -> Result<Hierarchy> {
    of(controller)?
        .ok_or_else(|| cannot_run(format!("this kernel offers no cgroup controller {controller:?}")))
}

impl Hierarchy {
    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// A file of the hierarchy's own root cgroup.
    pub(crate) fn top(&self, file: &str) -> Result<String> {
        read(&self.point.join(file))
    }

    /// All cgroups below its root at this moment, others' included.
    pub(crate) fn all(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        add_below(&self.point, &mut found);
        found
    }

    /// The cgroup that a process is in.
    pub(crate) fn of_process(&self, process: Process) -> Result<PathBuf> {
        let list = read(&process.file("cgroup"))?;
        let path = list.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let ours = if self.v2 {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|one| one == self.controller)
            };
            ours.then_some(path)
        });
        let path = path.with_context(|| format!("no {} in {list:?}", self.controller))?;
        let below = path.strip_prefix(self.root.as_str()).unwrap_or(path);
        Ok(self.point.join(below.trim_start_matches('/')))
    }

    /// Fails unless the cgroup that holds all containers goes away, or others are using it.
    pub(crate) fn parent_goes(&self, did: &str, parent: &Path) -> Result<()> {
        if parent == self.point {
            return Ok(()); // there is none but the host's own
        }
        let others = || self.all().into_iter().any(|path| path != parent && path.starts_with(parent));
        let gone = || Ok((!parent.exists() || others()).then_some(()));
        match wait_for(Duration::from_secs(5), gone)? {
            Some(()) => Ok(()),
            None => Err(see::differs(did, "the empty cgroup of all containers to go away", parent.display())),
        }
    }
}

fn add_below(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_below(&entry.path(), found);
            found.insert(entry.path());
        }
    }
}

/// The cgroups that a container has for itself, one for each hierarchy where it is not in the lab's own.
pub(crate) fn of_container(container: Process) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for mount in mounts::table()?.into_iter().filter(|mount| mount.filesystem.starts_with("cgroup")) {
        let controller = mount.super_options.split(',').find(|one| !["rw", "ro", "xattr"].contains(one));
        let hierarchy = Hierarchy {
            controller: controller.unwrap_or_default().to_string(),
            v2: mount.filesystem == "cgroup2",
            point: PathBuf::from(&mount.point),
            root: mount.root,
        };
        let (its, own) = (hierarchy.of_process(container)?, hierarchy.of_process(Process::this())?);
        if its != own && !found.contains(&its) {
            found.push(its);
        }
    }
    Ok(found)
}

/// Fails unless these cgroups are gone.
pub(crate) fn all_gone(did: &str, cgroups: &[PathBuf]) -> Result<()> {
    let left: Vec<_> = cgroups.iter().filter(|path| path.exists()).collect();
    see::same(did, "the container's cgroups that are left", Vec::new(), left)
}

/// Fails if any hierarchy has a cgroup of this id where the chapters have theirs.
pub(crate) fn none_of(did: &str, id: &str) -> Result<()> {
    see::same(did, "the container's cgroups", Vec::new(), directories(id)?)
}

/// The cgroups of this id in all hierarchies.
fn directories(id: &str) -> Result<Vec<PathBuf>> {
    let points = mounts::table()?.into_iter().filter(|mount| mount.filesystem.starts_with("cgroup"));
    Ok(points
        .map(|mount| Path::new(&mount.point).join(PARENT).join(id))
        .filter(|path| path.exists())
        .collect())
}

/// Removes what is left of a container whose `run` was killed. Empty cgroups only: rmdir(2) takes no others.
/// The parent stays: another run may be about to use it, and the next one that ends removes it.
pub(crate) fn sweep(id: &str) -> Result<()> {
    for directory in directories(id)? {
        // The kernel may need a moment to see that the last process is gone.
        let removed = wait_for(see::SOON, || match fs::remove_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(None),
            other => Ok(Some(other)),
        })?;
        match removed {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Some(_) => {}
            None => {
                return Err(see::differs("killing run", "a cgroup without processes", directory.display()));
            }
        }
    }
    Ok(())
}

/// A file's text without the newline at its end.
pub(crate) fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim_end().to_string())
}

/// The numbers in a list such as `0-2,5`.
pub(crate) fn numbers(list: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_list_of_cpus() {
        assert_eq!(super::numbers("0-2,5\n"), [0, 1, 2, 5].into());
        assert!(super::numbers("").is_empty());
    }
}
