//! The container's own root: pivot_root(2), mount(2), umount2(2).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use ch01_run::mounts;
use log::debug;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{chdir, pivot_root};

/// Mounts a directory on itself: pivot_root(2) takes only a mount point as the new root.
///
/// MS_REC brings along what is mounted below it, so that the container sees what its user sees on the host.
pub fn bind_to_itself(directory: &Path) -> Result<()> {
    mounts::mount(directory, directory, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")
        .with_context(|| format!("binding {} to itself", directory.display()))
}

/// Makes the mount point `root` the root of this mount namespace, and leaves nothing of the old one in it.
///
/// Not chroot(2): that only changes where `/` is for one process, and the old root stays mounted around it, where root
/// can climb back into it. After this the host's files are mounted nowhere in here.
pub fn pivot(root: &Path) -> Result<()> {
    change_directory(root)?;
    // With "." for both, the old root ends up on top of the new one, so the image needs no directory for it; and the
    // "." that we unmount then is the old root. The manual page has this as an example.
    debug!("pivot_root(\".\", \".\")");
    if let Err(errno) = pivot_root(".", ".") {
        let step = format!("making {} the root by pivot_root{}", root.display(), hint(errno));
        return Err(errno).context(step);
    }
    // MNT_DETACH, because we are still using it: it leaves the tree at once, and ends with its last user.
    debug!("umount2(\".\", MNT_DETACH)");
    umount2(".", MntFlags::MNT_DETACH).context("unmounting the old root")?;
    change_directory(Path::new("/"))
}

/// What an error of pivot_root(2) tells somebody whose program is right.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EBUSY => " (it is the root already: the image must be another directory)",
        Errno::EINVAL if is_first_root() => " (this root is an initramfs, which cannot be moved)",
        Errno::EINVAL => " (is this a chroot? the mount around it may be shared)",
        _ => "",
    }
}

/// Whether `/` is the machine's first root, the initramfs: that mount is its own parent, proc_pid_mountinfo(5).
fn is_first_root() -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split(' ');
        fields.next() == fields.next()
    })
}

/// Mounts the container's own `/proc`. Only after [`pivot`]: a link at that name in the image can now
/// lead nowhere but into the image.
pub fn mount_proc() -> Result<()> {
    make_mount_point("/proc")?;
    mounts::mount_proc()
}

/// Makes a directory to mount on, unless the image has one.
pub fn make_mount_point(path: &str) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making the mount point {path}"))
        }
        _ => Ok(()),
    }
}

fn change_directory(path: &Path) -> Result<()> {
    debug!("chdir({path:?})");
    chdir(path).with_context(|| format!("changing directory to {}", path.display()))
}
