//! What killed runs have left, and who has outlived them. setns(2), mount_namespaces(7).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ch02_cgroups::lock;
use log::warn;
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use crate::workspace;

/// Removes the workspaces of runs that were killed. The kernel has long unmounted them, unless a process of the container
/// lives: one that has given up root may have outlived its run, and then the files are not ours to take away.
pub fn remove_all(state_directory: &Path) -> Result<()> {
    lock::for_each_abandoned(&state_directory.join("containers"), |directory| {
        if is_mounted_somewhere(directory)? {
            warn!("{} belongs to a container that outlived its run", directory.display());
        } else if let Err(error) = workspace::remove(directory) {
            warn!("left by a run that was killed: {error:#}");
        }
        Ok(())
    })
}

/// Whether any mount namespace has a mount that names this directory, as a container's overlay names its layers. A
/// container that has just been killed may need a moment to be gone.
pub fn is_mounted_somewhere(directory: &Path) -> Result<bool> {
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
    let thread = thread::Builder::new().spawn(look).context("starting a thread")?;
    let looked: Result<Vec<u8>> = thread.join().unwrap_or_else(|_| bail!("the thread panicked"));
    looked.context("looking at the mounts of another namespace")
}
