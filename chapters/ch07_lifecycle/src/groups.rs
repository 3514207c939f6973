//! The cgroups of a kept container, made by its keeper and found again by its id. cgroups(7), rmdir(2), flock(2).
//!
//! Its limits' cgroups are chapter 2's. Beside them each container has one in which it can be frozen, whether it has limits
//! or not; and that one lists all its processes.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ch02_cgroups::busy;
use ch02_cgroups::cgroup::Cgroup;
use ch02_cgroups::files::{exists, write};
use ch02_cgroups::group::Group;
use ch02_cgroups::limits::Limits;
use ch02_cgroups::lock;
use ch02_cgroups::rmdir::{remove_group, remove_leftovers};
use ch02_cgroups::version::Version;
use nix::unistd::Pid;

use crate::freezer;
use crate::trees::{self, Tree};

/// The cgroups of one container.
#[derive(Debug)]
pub struct Groups {
    /// The one that can be frozen.
    freezer: Option<(PathBuf, Version)>,
    /// All of them, and the tree that each is in.
    places: Vec<(&'static Tree, PathBuf)>,
    /// The keeper's: dropped, they are removed.
    made: Option<Made>,
}

/// Those with limits, and the one that can be frozen with the lock that tells others that it is no leftover. In version 2
/// both may be the same directory; then it is the limits'.
#[derive(Debug)]
struct Made {
    limits: Cgroup,
    freezer: Option<(Group, File)>,
}

impl Groups {
    /// Makes them and writes the limits there. Dropped, they are removed: let them outlive the container.
    pub fn create(id: &str, limits: &Limits) -> Result<Groups> {
        let limits = Cgroup::create(id, limits)?;
        let freezer = match trees::freezer()? {
            Some(tree) if !exists(&tree.ours().join(id))? => {
                remove_leftovers(&tree.ours())?; // of killed keepers whose records have gone first
                let group = Group::new(tree.hierarchy(), id);
                let lock = lock::hold(&group.directory, lock::A_MOMENT, || group.make())?;
                Some((group, lock))
            }
            _ => None,
        };
        Ok(Groups { made: Some(Made { limits, freezer }), ..Groups::open(id)? })
    }

    /// Finds those of a container. With its end they are gone, and then there are none.
    pub fn open(id: &str) -> Result<Groups> {
        let mut places = Vec::new();
        for tree in trees::all()? {
            let directory = tree.ours().join(id);
            if exists(&directory)? {
                places.push((tree, directory));
            }
        }
        let freezer = trees::freezer()?.map(|tree| (tree.ours().join(id), tree.version));
        Ok(Groups { freezer, places, made: None })
    }

    /// The one that can be frozen.
    fn freezer(&self) -> Result<(&Path, Version)> {
        let freezer = self.freezer.as_ref().map(|(path, version)| (path.as_path(), *version));
        freezer.context("this host has no cgroups that can freeze processes (see `cargo lab doctor`)")
    }

    /// Puts the calling process in. Call it before anything else is done for the container, while the cgroup files are in
    /// sight.
    pub fn join(&self) -> Result<()> {
        // 0 is whoever writes it.
        self.places.iter().try_for_each(|(tree, group)| write(&group.join(tree.version.join_file()), "0"))
    }

    /// Whether there is one that can be frozen, and lists all its processes.
    pub fn can_freeze(&self) -> bool {
        self.freezer.as_ref().is_some_and(|(path, _)| path.is_dir())
    }

    /// Stops all its processes, where they stand.
    pub fn freeze(&self) -> Result<()> {
        let (path, version) = self.freezer()?;
        freezer::freeze(path, version)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        let (path, version) = self.freezer()?;
        freezer::thaw(path, version)
    }

    /// Kills all of them, frozen or not. They may be dying still when this returns.
    pub fn kill(&self) -> Result<()> {
        let (path, version) = self.freezer()?;
        match freezer::kill_all(path, version) {
            // They have just ended, and somebody takes it away.
            Err(error) if freezer::is_gone(&error) || !path.is_dir() => Ok(()),
            killed => killed,
        }
    }

    /// Its processes, by their numbers on the host.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        freezer::processes(self.freezer()?.0)
    }

    /// Whether there are any.
    fn is_populated(&self) -> Result<bool> {
        let (path, version) = self.freezer()?;
        freezer::is_populated(path, version)
    }

    /// How many threads they have.
    pub fn count_threads(&self) -> Result<usize> {
        let (path, version) = self.freezer()?;
        freezer::count_threads(path, version)
    }

    /// The text of a file of this controller, which has another name in each version. `None` where the container has no
    /// such cgroup, because no limit needed it.
    pub fn read(&self, controller: &str, v1: &str, v2: &str) -> Result<Option<String>> {
        for (tree, group) in self.places.iter().filter(|(tree, _)| tree.may_have(controller)) {
            let file = if tree.version == Version::V1 { v1 } else { v2 };
            if let Some(text) = freezer::read(&group.join(file))? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// How many of its processes the kernel killed because the memory limit was reached: for the keeper.
    pub fn oom_kills(&self) -> Result<u64> {
        self.made.as_ref().map_or(Ok(0), |made| made.limits.oom_kills())
    }

    /// Removes them, and tells what Drop cannot: why it failed.
    pub fn remove(self) -> Result<()> {
        let Some(Made { limits, freezer }) = self.made else { return Ok(()) };
        freezer.map_or(Ok(()), |(group, _lock)| group.remove())?;
        limits.remove()
    }
}

/// Whether a container is frozen: in three system calls, for those who ask it of many.
pub fn is_frozen(id: &str) -> Result<bool> {
    let Some(tree) = trees::freezer()? else { return Ok(false) };
    freezer::is_frozen(&tree.ours().join(id), tree.version)
}

/// Removes the cgroups of a container whose keeper was killed, and kills what lives in there: a container that was frozen
/// then could not die with it, nor a process that has changed its user.
pub fn clear(id: &str) -> Result<()> {
    let groups = Groups::open(id)?;
    if groups.can_freeze() && groups.is_populated()? {
        groups.kill()?;
    }
    for (tree, group) in groups.places {
        busy::patiently(|| remove_leftover(&group))?;
        let _ = fs::remove_dir(tree.ours()); // only if it is empty: it goes with the last of them
    }
    Ok(())
}

/// Another run may be taking it away just now, as the leftover that it is. Then this fails as if it were busy.
fn remove_leftover(group: &Path) -> Result<()> {
    match lock::try_hold(group)? {
        Some(_lock) => remove_group(group),
        None if exists(group)? => Err(io::Error::from(ErrorKind::ResourceBusy))
            .with_context(|| format!("another run does not let go of {}", group.display())),
        None => Ok(()),
    }
}
