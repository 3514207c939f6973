//! A workspace for each container: writeLayer and mnt, mounted on the host. mount(2), umount2(2), aufs(5).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use ch01_run::mounts;
use ch02_cgroups::{lock, mountinfo};
use ch03_pivot_root::{removal, state};
use log::{debug, error, warn};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

/// What is mounted, for the mount table: nothing that has a name.
const SOURCE: &str = "none";

/// The longest options that mount(2) takes: a page, less the NUL byte at its end.
const LONGEST_OPTIONS: usize = 4095;

/// The directory `containers/<id>` with `writeLayer` in it, and `mnt`, where that layer over the image is
/// mounted on the host. Dropped, the mount is undone first, and only then the directories.
#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
    /// Tells other runs that ours still lives.
    owner: Option<File>,
}

impl Workspace {
    /// Makes the directories for container `id` below the state directory, and mounts the union of them. In the
    /// host's own mount namespace, so that anyone can look into it while the container runs.
    pub fn mount(state_directory: &Path, id: &str, image: &Path) -> Result<Workspace> {
        load_module()?;
        let containers = state_directory.join("containers");
        state::make_private(&containers)?;
        // A guard before there is anything, so that whatever gets made is removed.
        let mut workspace = Workspace { directory: containers.join(id), owner: None };
        let (write_layer, mnt) = (workspace.write_layer(), workspace.mnt());
        // For root only: a set-user-ID program that a container makes must not be within everyone's reach.
        let make = || DirBuilder::new().mode(0o700).create(&workspace.directory);
        debug!("mkdir({:?}, 0700)", workspace.directory);
        workspace.owner = Some(lock::hold(&workspace.directory, lock::A_MOMENT, make)?);
        state::make_directory(&write_layer, 0o755)?; // its mode becomes that of `/` inside
        state::make_directory(&mnt, 0o755)?;
        // The first directory takes all writes, the others are read-only: that is the default of aufs.
        let mut options = OsString::from("dirs=");
        options.push(branch(&write_layer)?);
        options.push(":");
        options.push(branch(image)?);
        // The kernel copies one page of them and drops the rest without a word: half a path may be another path.
        let mounted = if options.len() > LONGEST_OPTIONS {
            Err(Errno::E2BIG)
        } else {
            mounts::mount(SOURCE, &mnt, "aufs", MsFlags::empty(), &options)
        };
        let hint = match mounted {
            Err(Errno::ENODEV) => {
                " (this kernel has no aufs: use the classroom VM in vagrant/, or go on with ch04_overlay)"
            }
            _ => "",
        };
        mounted.with_context(|| format!("mounting aufs on {}{hint}", mnt.display()))?;
        Ok(workspace)
    }

    /// What the container wrote; a removed file leaves an empty `.wh.` file of its name, its whiteout.
    fn write_layer(&self) -> PathBuf {
        self.directory.join("writeLayer")
    }

    /// Where the write layer over the image is mounted: the container's root to be.
    pub fn mnt(&self) -> PathBuf {
        self.directory.join("mnt")
    }

    /// Unmounts and removes the workspace, and tells what Drop could not: why it failed.
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

/// Undoes a workspace in this order, and no further than it goes. A busy mount stays, with all that is in it:
/// a recursive delete of `mnt` at that point is how other runtimes emptied their users' volumes.
fn remove(directory: &Path) -> Result<()> {
    removal::ensure_nothing_on(directory)?;
    let mnt = directory.join("mnt");
    ensure_not_covered(&mnt)?;
    debug!("umount2({mnt:?}, UMOUNT_NOFOLLOW)");
    match umount2(&mnt, MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: not a mount point. ENOENT: not even made. That is so when making the workspace failed.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno).with_context(|| format!("unmounting {} ({STAYS})", mnt.display())),
    }
    // By rmdir: if anything is mounted there after all, it says EBUSY, and the rest stays too.
    removal::remove_directory(&mnt)?;
    removal::remove_parts(directory, &["writeLayer"])
}

/// What to tell of a workspace that cannot be removed yet.
const STAYS: &str = "everything is left as it is; the next run tries again when nothing uses it any more";

/// Fails if somebody has mounted something else over our union: that is theirs to unmount.
fn ensure_not_covered(mnt: &Path) -> Result<()> {
    // Without links, as the kernel lists it. It is not there if making the workspace failed.
    let Ok(real) = mnt.canonicalize() else { return Ok(()) };
    let mounts = mountinfo::read()?;
    let on_it: Vec<_> = mounts.iter().filter(|mount| mount.target == real).collect();
    match on_it[..] {
        [] => Ok(()),
        [ours] if ours.source == SOURCE => Ok(()),
        [.., other] => bail!("a {} is mounted on {} ({STAYS})", other.filesystem, mnt.display()),
    }
}

/// Removes the workspaces of runs that were killed. Their mounts are still there.
pub fn remove_leftovers(state_directory: &Path) -> Result<()> {
    lock::for_each_abandoned(&state_directory.join("containers"), |directory| {
        if let Err(error) = remove(directory) {
            warn!("what a run has left stays: {error:#}");
        }
        Ok(())
    })
}

/// Loads the aufs module if the kernel does not have it yet. Where that fails, mount(2) will say so.
fn load_module() -> Result<()> {
    let filesystems = fs::read_to_string("/proc/filesystems").context("reading /proc/filesystems")?;
    if filesystems.split_whitespace().any(|name| name == "aufs") {
        return Ok(());
    }
    debug!("modprobe aufs");
    match Command::new("modprobe").arg("aufs").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("running modprobe aufs"),
        _ => Ok(()), // without modprobe, the module is built in or not there
    }
}

/// A directory in aufs options, where `:` stands between branches, `,` between options and `=` before a
/// branch's permission. There is no way to write them in a name.
fn branch(path: &Path) -> Result<&Path> {
    let separator = path.as_os_str().as_bytes().iter().find(|byte| b":,=".contains(byte));
    match separator {
        Some(byte) => bail!("aufs cannot have {:?} in a path: {}", char::from(*byte), path.display()),
        None => Ok(path),
    }
}
