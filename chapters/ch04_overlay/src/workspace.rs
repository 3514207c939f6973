//! A workspace for each container: upper, work and merged. mkdir(2), setns(2), mount_namespaces(7).

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ch02_cgroups::lock;
use ch02_cgroups::walk::open_directory;
use ch03_pivot_root::{removal, state};
use log::{debug, error, warn};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// The directory `containers/<id>` with `upper`, `work` and `merged` in it. Dropped, it is removed; its mount is
/// not its own to undo, for it was made in the container's mount namespace and ends with that.
#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
    /// Tells other runs that ours still lives.
    owner: Option<File>,
}

impl Workspace {
    /// Makes the directories for container `id` below the state directory.
    pub fn create(state_directory: &Path, id: &str) -> Result<Workspace> {
        let containers = state_directory.join("containers");
        state::make_private(&containers)?;
        // A guard before there is anything, so that whatever gets made is removed.
        let mut workspace = Workspace { directory: containers.join(id), owner: None };
        // For root only: a set-user-ID program that a container makes must not be within everyone's reach.
        let make = || DirBuilder::new().mode(0o700).create(&workspace.directory);
        debug!("mkdir({:?}, 0700)", workspace.directory);
        workspace.owner = Some(lock::hold(&workspace.directory, lock::A_MOMENT, make)?);
        for path in [workspace.upper(), workspace.work(), workspace.merged()] {
            state::make_directory(&path, 0o755)?; // the mode of `upper` becomes that of `/` inside
        }
        Ok(workspace)
    }

    /// What the container wrote: new files, changed files whole, and a whiteout for each that it removed.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// Where overlayfs prepares a file before it moves it to `upper` in one step; so on the same file system.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Where upper over the image is mounted: the container's root to be.
    pub fn merged(&self) -> PathBuf {
        self.directory.join("merged")
    }

    /// Removes the workspace, and tells what Drop could not: why it failed.
    pub fn remove(self) -> Result<()> {
        remove(&ManuallyDrop::new(self).directory) // so that Drop does not try again
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            error!("{error:#}");
        }
    }
}

fn remove(directory: &Path) -> Result<()> {
    removal::ensure_nothing_on(directory)?;
    // By rmdir and before all else: this is where a mount would be, if anything had gone wrong.
    removal::remove_directory(&directory.join("merged"))?;
    remove_mark(directory);
    removal::remove_parts(directory, &["upper", "work"])
}

/// Removes what every volatile overlay leaves in `work`: an empty file four directories deep, the mark that it may not have
/// been written to the disk. The walk that follows would find it, too, but with some sixty system calls; these are eight.
/// What else there is, and whatever goes wrong, is left to that walk.
fn remove_mark(workspace: &Path) {
    const DIRECTORIES: [&str; 3] = ["work/work/incompat/volatile", "work/work/incompat", "work/work"];
    // Through no link and no mount, so that it is ours. openat2(2) is older than volatile overlays.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    if let Ok(workspace) = open_directory(workspace)
        && let Ok(mark) = openat2(&workspace, DIRECTORIES[0], how)
        && unlinkat(mark, "dirty", UnlinkatFlags::NoRemoveDir).is_ok()
    {
        for directory in DIRECTORIES {
            debug!("unlinkat({}, {directory:?}, AT_REMOVEDIR)", workspace.as_raw_fd());
            let _ = unlinkat(&workspace, directory, UnlinkatFlags::RemoveDir); // only if it is empty
        }
    }
}

/// Removes the workspaces of runs that were killed. The kernel has long unmounted them, unless a process of the container
/// lives: one that has given up root may have outlived its run, and then the files are not ours to take away.
pub fn remove_leftovers(state_directory: &Path) -> Result<()> {
    lock::for_each_abandoned(&state_directory.join("containers"), |directory| {
        if is_mounted_somewhere(directory)? {
            warn!("{} belongs to a container that outlived its run", directory.display());
        } else if let Err(error) = remove(directory) {
            warn!("left by a run that was killed: {error:#}");
        }
        Ok(())
    })
}

/// Whether any mount namespace has a mount that names this directory, as a container's overlay names its layers. A
/// container that has just been killed may need a moment to be gone.
fn is_mounted_somewhere(directory: &Path) -> Result<bool> {
    let name = directory.file_name().context("a container's directory has a name")?.as_encoded_bytes();
    for _ in 0..20 {
        let mounts = mounts_of_all()?;
        if !mounts.windows(name.len()).any(|part| part == name) {
            return Ok(false);
        }
        sleep(Duration::from_millis(10));
    }
    Ok(true)
}

/// The mount tables of all namespaces that processes are in, one after another.
fn mounts_of_all() -> Result<Vec<u8>> {
    let mut seen = HashSet::new();
    let mut mounts = Vec::new();
    for entry in fs::read_dir("/proc").context("listing processes")? {
        let namespace = entry.context("listing processes")?.path().join("ns/mnt");
        // Not all entries are processes, and some processes have just ended.
        if let Ok(name) = fs::read_link(&namespace)
            && seen.insert(name)
            && let Ok(namespace) = File::open(&namespace)
        {
            mounts.extend(mounts_in(namespace)?);
        }
    }
    Ok(mounts)
}

/// The whole mount table of a namespace. `/proc/PID/mountinfo` does not have it if that process is in a chroot: it shows
/// what is below its root. So a thread of ours goes in, and looks from the namespace's own root.
fn mounts_in(namespace: File) -> Result<Vec<u8>> {
    let proc = File::open("/proc").context("opening /proc")?; // in there might be none
    let look = move || {
        unshare(CloneFlags::CLONE_FS)?; // setns(2) asks for a root that no other thread has too
        setns(namespace, CloneFlags::CLONE_NEWNS)?;
        let table =
            openat(&proc, "thread-self/mountinfo", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut text = Vec::new();
        File::from(table).read_to_end(&mut text)?;
        Ok(text)
    };
    let looked: Result<Vec<u8>> = thread::spawn(look).join().unwrap_or_else(|_| bail!("the thread panicked"));
    looked.context("looking at the mounts of another namespace")
}
