//! A cgroup for one container: mkdir(2), a few writes, rmdir(2); flock(2) between runs. cgroups(7).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use log::{debug, error};
use nix::fcntl::{Flock, FlockArg};

use crate::limits::{Limits, NumberList};
use crate::mountinfo::{self, Mount};
use crate::{v1, v2};

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

/// The two ways in which a host can offer a controller. Some hosts offer some in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A mounted cgroup file system, and the controllers that we use in it.
#[derive(Debug)]
struct Hierarchy {
    root: PathBuf,
    version: Version,
    controllers: Vec<&'static str>,
}

/// The cgroups of one container: `byhand/<id>` in each hierarchy that its limits need. Dropped, they are
/// removed; call it after the container's processes have ended, for only an empty cgroup goes away.
#[derive(Debug)]
pub struct Cgroup {
    id: String,
    hierarchies: Vec<Hierarchy>,
}

impl Cgroup {
    /// Makes the cgroups and writes the limits there. With no limits, there is nothing to make.
    pub fn create(id: &str, limits: &Limits) -> Result<Cgroup> {
        let hierarchies = find(&limits.controllers())?;
        check_cpuset(&hierarchies, limits)?;
        let mut cgroup = Cgroup { id: id.to_string(), hierarchies: Vec::new() };
        for hierarchy in hierarchies {
            let group = hierarchy.group(id);
            let settings = hierarchy.make(&group);
            // In the guard before anything else can fail, so that whatever was made is removed.
            let (version, controllers) = (hierarchy.version, hierarchy.controllers.clone());
            cgroup.hierarchies.push(hierarchy);
            settings?;
            let settings = match version {
                Version::V1 => v1::settings(limits, &group),
                Version::V2 => v2::settings(limits),
            };
            for setting in settings.iter().filter(|setting| controllers.contains(&setting.controller)) {
                write(&group.join(setting.file), &setting.value)?;
            }
        }
        Ok(cgroup)
    }

    /// Puts the calling process in. Call it in the child before anything else, so that every page it
    /// touches on the way to the command counts, and the command never runs without its limits.
    pub fn join(&self) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let file = match hierarchy.version {
                Version::V1 => v1::JOIN,
                Version::V2 => v2::JOIN,
            };
            write(&hierarchy.group(&self.id).join(file), "0")?; // 0 is whoever writes it
        }
        Ok(())
    }

    /// How many processes the kernel killed because the memory limit was reached.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(hierarchy) = self.hierarchies.iter().find(|h| h.controllers.contains(&"memory")) else {
            return Ok(0);
        };
        let file = hierarchy.group(&self.id).join(match hierarchy.version {
            Version::V1 => v1::OOM,
            Version::V2 => v2::OOM,
        });
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap_or("0").parse().with_context(|| format!("parsing {}", file.display()))
    }

    /// Removes the cgroups, and tells what Drop could not: why it failed.
    pub fn remove(mut self) -> Result<()> {
        self.remove_all()
    }

    fn remove_all(&mut self) -> Result<()> {
        while let Some(hierarchy) = self.hierarchies.pop() {
            let _lock = hierarchy.lock()?;
            remove_tree(&hierarchy.group(&self.id))?;
            // The directory of all our containers goes with the last of them.
            remove_unless_in_use(&hierarchy.parent())?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        while !self.hierarchies.is_empty() {
            if let Err(error) = self.remove_all() {
                error!("{error:#}");
            }
        }
    }
}

impl Hierarchy {
    fn parent(&self) -> PathBuf {
        self.root.join("byhand")
    }

    fn group(&self, id: &str) -> PathBuf {
        self.parent().join(id)
    }

    /// Keeps other runs out until it is dropped, by lock on the hierarchy's root directory: else one run
    /// could remove `byhand` as empty just before another makes its own directory in it.
    fn lock(&self) -> Result<Flock<File>> {
        let root = File::open(&self.root).with_context(|| format!("opening {}", self.root.display()))?;
        Flock::lock(root, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("locking {}", self.root.display()))
    }

    /// Makes `byhand/<id>`, ready to take limits.
    fn make(&self, group: &Path) -> Result<()> {
        let _lock = self.lock()?;
        let parent = self.parent();
        if !parent.exists() {
            make_directory(&parent)?;
        }
        if self.version == Version::V2 {
            for controller in &self.controllers {
                v2::enable(&self.root, controller)?;
                v2::enable(&parent, controller)?;
            }
        }
        make_directory(group)?;
        if self.version == Version::V1 && self.controllers.contains(&"cpuset") {
            v1::inherit_cpuset(&parent)?;
            v1::inherit_cpuset(group)?;
        }
        Ok(())
    }
}

/// Where this host has each of the controllers. A v1 controller has a mount of its own, or shares one, as
/// cpu and cpuacct often do; a v2 controller is named in the root's `cgroup.controllers`.
fn find(controllers: &[&'static str]) -> Result<Vec<Hierarchy>> {
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
        let (mount, version) = if let Some(mount) = mounts.iter().find(on_v1) {
            (mount, Version::V1)
        } else if let Some(mount) = mounts.iter().find(on_v2) {
            (mount, Version::V2)
        } else {
            bail!(
                "this host has no cgroup controller {controller:?}: no mounted cgroup v1 or v2 tree offers it"
            );
        };
        match found.iter_mut().find(|hierarchy| hierarchy.root == mount.target) {
            Some(hierarchy) => hierarchy.controllers.push(controller),
            None => {
                found.push(Hierarchy { root: mount.target.clone(), version, controllers: vec![*controller] })
            }
        }
    }
    Ok(found)
}

/// Refuses CPUs and memory nodes that the host has not got. Version 1 would say EINVAL when they are written,
/// version 2 would quietly use others.
fn check_cpuset(hierarchies: &[Hierarchy], limits: &Limits) -> Result<()> {
    let Some(hierarchy) = hierarchies.iter().find(|h| h.controllers.contains(&"cpuset")) else {
        return Ok(());
    };
    for (file, wanted, what) in
        [("cpus", &limits.cpuset_cpus, "CPU"), ("mems", &limits.cpuset_mems, "memory node")]
    {
        let Some(wanted) = wanted else { continue };
        let path = hierarchy.root.join(match hierarchy.version {
            Version::V1 => format!("cpuset.{file}"),
            Version::V2 => format!("cpuset.{file}.effective"),
        });
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let available: NumberList =
            text.trim().parse().with_context(|| format!("parsing {}", path.display()))?;
        let missing: BTreeSet<_> = wanted.numbers.difference(&available.numbers).collect();
        if let Some(number) = missing.first() {
            bail!("there is no {what} {number}: this host has {}", available.text);
        }
    }
    Ok(())
}

/// Writes one cgroup file in one write(2): each write is a command to the kernel.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    debug!("write({path:?}, {value:?})");
    // Not fs::write, which would make the file if there is none; a file system that lets us is no cgroup.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// mkdir(2).
fn make_directory(path: &Path) -> Result<()> {
    debug!("mkdir({path:?})");
    fs::create_dir(path).with_context(|| format!("making the cgroup {}", path.display()))
}

/// Removes a cgroup and those that the container made in it. Only rmdir(2) works here: the files are the
/// kernel's, and a directory goes with all of them.
fn remove_tree(path: &Path) -> Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // it was never made
        entries => entries.with_context(|| format!("listing {}", path.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("listing {}", path.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    debug!("rmdir({path:?})");
    fs::remove_dir(path).with_context(|| format!("removing the cgroup {}", path.display()))
}

/// rmdir(2), where it is no error if the cgroup is gone already or has others in it.
fn remove_unless_in_use(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path).map_err(|error| (error.kind(), error)) {
        Ok(()) => Ok(()),
        Err((ErrorKind::NotFound | ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty, _)) => Ok(()),
        Err((_, error)) => Err(error).with_context(|| format!("removing the cgroup {}", path.display())),
    }
}
