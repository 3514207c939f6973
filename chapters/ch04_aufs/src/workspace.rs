//! A workspace for each container: writeLayer and mnt, mounted on the host. mount(2), umount2(2), aufs(5).

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ch01_run::mounts;
use ch02_cgroups::mountinfo;
use ch03_pivot_root::state;
use log::{debug, error};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

/// The directory `containers/<id>` with `writeLayer` in it, and `mnt`, where that layer over the image is
/// mounted on the host. Dropped, the mount is undone first, and only then the directories.
#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
}

impl Workspace {
    /// Makes the directories for container `id` below the state directory, and mounts the union of them. In the
    /// host's own mount namespace, so that anyone can look into it while the container runs.
    pub fn mount(state_directory: &Path, id: &str, image: &Path) -> Result<Workspace> {
        load_module()?;
        let containers = state_directory.join("containers");
        state::make_directories(&containers)?;
        let workspace = Workspace { directory: containers.join(id) };
        let (write_layer, mnt) = (workspace.write_layer(), workspace.mnt());
        // For root only: a set-user-ID program that a container makes must not be within everyone's reach.
        state::make_directory(&workspace.directory, 0o700)?;
        state::make_directory(&write_layer, 0o755)?; // its mode becomes that of `/` inside
        state::make_directory(&mnt, 0o755)?;
        // The first directory takes all writes, the others are read-only: that is the default of aufs.
        let mut options = OsString::from("dirs=");
        options.push(branch(&write_layer)?);
        options.push(":");
        options.push(branch(image)?);
        let mounted = mounts::mount("none", &mnt, "aufs", MsFlags::empty(), &options);
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
        ManuallyDrop::new(self).remove_all() // so that Drop does not try again
    }

    /// In this order, and no further than it goes. A busy mount stays, with all that is in it: a recursive
    /// delete of `mnt` at this point is how other runtimes emptied their users' volumes.
    fn remove_all(&self) -> Result<()> {
        let mnt = self.mnt();
        debug!("umount2({mnt:?}, UMOUNT_NOFOLLOW)");
        match umount2(&mnt, MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: not a mount point. ENOENT: not even made. That is so when `mount` failed.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => {
                let busy =
                    "everything is left as it is; when nothing uses it any more: umount it, then remove";
                return Err(errno).with_context(|| {
                    format!("unmounting {} ({busy} {})", mnt.display(), self.directory.display())
                });
            }
        }
        let real = self.directory.canonicalize().unwrap_or_else(|_| self.directory.clone());
        if mountinfo::read()?.iter().any(|mount| mount.target.starts_with(&real)) {
            bail!("{} is still a mount point after umount; everything is left as it is", mnt.display());
        }
        state::remove_directory(&mnt)?; // by rmdir: if it were mounted after all, nothing would be lost
        state::remove_tree(&self.write_layer())?;
        state::remove_directory(&self.directory)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = self.remove_all() {
            error!("{error:#}");
        }
    }
}

/// Loads the aufs module if the kernel does not have it yet. Where that fails, mount(2) will say so.
fn load_module() -> Result<()> {
    let filesystems = fs::read_to_string("/proc/filesystems").context("reading /proc/filesystems")?;
    if filesystems.split_whitespace().any(|name| name == "aufs") {
        return Ok(());
    }
    debug!("modprobe aufs");
    match Command::new("modprobe").arg("aufs").output() {
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
