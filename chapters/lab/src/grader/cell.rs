//! The cgroup that holds all of one check's processes, in every hierarchy: cgroups(7), cgroup_namespaces(7).
//!
//! Seen from inside it is the root of the host's cgroups, so that a runtime makes its own below it, and one that
//! leaves some behind leaves them there. Here is also a limit on processes and memory, against what forks or grows
//! without end.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::mounts::{self, Mount};

/// The directory of all cells, in each hierarchy.
const PARENT: &str = "byhand-lab";

/// More than any check needs, and nothing that a machine would notice.
const PROCESSES: &str = "600";
const MEMORY: u64 = 1 << 30;

/// The cgroups of one check. Dropped, they are removed with all that is in them.
#[derive(Debug)]
pub(crate) struct Cell {
    /// One for each hierarchy.
    directories: Vec<PathBuf>,
    /// Tells another lab that these are not left over.
    _owner: Vec<Flock<File>>,
}

impl Cell {
    pub(crate) fn make(name: &str) -> Result<Cell> {
        let mut cell = Cell { directories: Vec::new(), _owner: Vec::new() };
        for mount in mounts::hierarchies()? {
            // Nobody sweeps before ours is made and locked.
            let _others = alone(Path::new(&mount.point))?;
            let parent = Path::new(&mount.point).join(PARENT);
            let directory = parent.join(name);
            let v2 = mount.filesystem == "cgroup2";
            if !parent.exists() {
                make(&parent)?;
            }
            hand_on(Path::new(&mount.point), &parent, &mount)?;
            make(&directory)?;
            cell.directories.push(directory.clone());
            cell._owner.push(own(&directory)?.context("a new cgroup that another lab has already")?);
            hand_on(&parent, &directory, &mount)?;
            make(&directory.join(ROOT))?;
            hand_on(&directory, &directory.join(ROOT), &mount)?;
            // A hierarchy that does not have the controller does not have the file.
            let memory = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
            for (file, value) in [("pids.max", PROCESSES.to_string()), (memory, MEMORY.to_string())] {
                if directory.join(file).exists() {
                    write(&directory.join(file), &value)?;
                }
            }
        }
        Ok(cell)
    }

    /// The directories that a process has to join, for the command line of that process.
    pub(crate) fn roots(&self) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().map(|path| path.join(ROOT))
    }

    /// Kills every process in it and waits until the last one is gone. A runtime that forks faster than it is killed
    /// meets the limit of processes.
    pub(crate) fn end(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let left: Vec<_> = self.directories.iter().flat_map(|path| members(path)).collect();
            if left.is_empty() || Instant::now() > end {
                return;
            }
            for pid in left {
                // Gone already is as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            self.directories.iter().for_each(|path| thaw(path));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The cgroups below it that a runtime made and did not remove, as the check saw them.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for root in self.roots() {
            // byhand-lab, the cell, the cell's root.
            let hierarchy = root.ancestors().nth(3).unwrap_or(Path::new("/"));
            for below in tree(&root).iter().rev().skip(1) {
                let path = below.strip_prefix(&root).unwrap_or(below);
                if path != Path::new(HOST) {
                    found.push(hierarchy.join(path).display().to_string());
                }
            }
        }
        found
    }
}

/// The one in a cell that a check's host has as its root. Not the cell itself, which we keep locked, as a runtime may
/// want to do with its root.
const ROOT: &str = "root";

/// On version 2 the processes of the check's host are in this one below its root, for there a cgroup that hands on
/// controllers must have no processes itself.
pub(crate) const HOST: &str = "host";

impl Drop for Cell {
    fn drop(&mut self) {
        self.end();
        for directory in &self.directories {
            remove(directory);
        }
    }
}

/// Removes what another lab left that was killed.
pub(crate) fn sweep() -> Result<()> {
    for mount in mounts::hierarchies()? {
        let _others = alone(Path::new(&mount.point))?;
        let parent = Path::new(&mount.point).join(PARENT);
        for cell in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if cell.file_type().is_ok_and(|kind| kind.is_dir()) && own(&cell.path())?.is_some() {
                for pid in members(&cell.path()) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                thaw(&cell.path());
                remove(&cell.path());
            }
        }
        // The last lab to end takes it away; any other one finds it in use.
        let _ = fs::remove_dir(&parent);
    }
    Ok(())
}

/// The lock that says whose a cgroup is, if nobody has it. It goes with the process.
fn own(directory: &Path) -> Result<Option<Flock<File>>> {
    match open(directory) {
        // Whoever had it has just removed it.
        Err(_) if !directory.exists() => Ok(None),
        file => Ok(Flock::lock(file?, FlockArg::LockExclusiveNonblock).ok()),
    }
}

/// Waits for the lock on a hierarchy: for making cells and for sweeping.
fn alone(hierarchy: &Path) -> Result<Flock<File>> {
    let locked = Flock::lock(open(hierarchy)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    locked.with_context(|| format!("locking {}", hierarchy.display()))
}

fn open(directory: &Path) -> Result<File> {
    let open = File::options().read(true).custom_flags(nix::libc::O_DIRECTORY).open(directory);
    open.with_context(|| format!("opening {}", directory.display()))
}

/// Gives the cgroup `below` all that `above` has to give: the controllers of version 2, and a cpuset's CPUs and
/// memory nodes of version 1, without which nobody can join.
fn hand_on(above: &Path, below: &Path, mount: &Mount) -> Result<()> {
    if mount.filesystem == "cgroup2" {
        let offered = fs::read_to_string(above.join("cgroup.controllers")).unwrap_or_default();
        for controller in offered.split_whitespace() {
            // What cannot be had here the checks will miss, and say so.
            let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if mount.filesystem == "cgroup" && above.join(file).exists() {
            let value = fs::read_to_string(above.join(file))?;
            write(&below.join(file), value.trim())?;
        }
    }
    Ok(())
}

fn make(directory: &Path) -> Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making the cgroup {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn write(file: &Path, value: &str) -> Result<()> {
    fs::write(file, value).with_context(|| format!("writing {value:?} to {}", file.display()))
}

/// All directories of a tree, the deepest first.
fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found.push(top.to_path_buf());
    found
}

/// The processes in a cgroup and below it.
fn members(top: &Path) -> Vec<i32> {
    let of = |directory: PathBuf| fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    tree(top)
        .into_iter()
        .map(of)
        .flat_map(|list| list.lines().map(str::to_string).collect::<Vec<_>>())
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// Lets all in a tree of cgroups go on that a runtime has frozen: in version 1 what is frozen does not even die.
fn thaw(top: &Path) {
    for directory in tree(top) {
        // Few hierarchies can freeze, and a cgroup of version 2 has not the file of version 1.
        for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            if let Ok(mut file) = File::options().write(true).open(directory.join(file)) {
                let _ = file.write_all(value.as_bytes());
            }
        }
    }
}

/// Removes a tree of cgroups. The kernel may need a moment to see the last process out.
fn remove(top: &Path) {
    for _ in 0..200 {
        for directory in tree(top) {
            let _ = fs::remove_dir(directory);
        }
        if !top.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
