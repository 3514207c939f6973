// ANCHOR: head
//! The container's own root: pivot_root(2), mount(2), umount2(2), mknod(2), pts(4), null(4).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use ch01_run::mounts;
use log::debug;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{chdir, pivot_root};
// ANCHOR_END: head

// ANCHOR: devices
/// The devices that every program counts on, with their major and minor numbers: devices.txt of the kernel.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// How programs name their own open files.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
// ANCHOR_END: devices

// ANCHOR: bind_to_itself
/// Mounts a directory on itself: pivot_root(2) takes only a mount point as the new root.
///
/// MS_REC brings along what is mounted below it, as the user sees it on the host.
pub fn bind_to_itself(directory: &Path) -> Result<()> {
    mounts::mount(directory, directory, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")
        .with_context(|| format!("binding {} to itself", directory.display()))
}
// ANCHOR_END: bind_to_itself

// ANCHOR: pivot
/// Makes the mount point `root` the root of this mount namespace, and leaves nothing of the old one in it.
///
/// Not chroot(2): that only changes where `/` starts for one process, and the old root stays mounted
/// around it, for root to climb back into. Here the host's files are mounted nowhere any more.
pub fn pivot(root: &Path) -> Result<()> {
    change_directory(root)?;
    // With "." for both, the old root is put on top of the new one, and no directory is needed for it in
    // the image; the "." that we unmount then is the old root. The manual page has this as an example.
    debug!("pivot_root(\".\", \".\")");
    pivot_root(".", ".").with_context(|| format!("making {} the root by pivot_root", root.display()))?;
    // MNT_DETACH, for it is still in use, by us: it leaves the tree at once and ends with its last user.
    debug!("umount2(\".\", MNT_DETACH)");
    umount2(".", MntFlags::MNT_DETACH).context("unmounting the old root")?;
    change_directory(Path::new("/"))
}
// ANCHOR_END: pivot

// ANCHOR: mount_proc
/// Mounts the container's own `/proc`. Only after [`pivot`]: a link at that name in the image can now
/// lead nowhere but into the image.
pub fn mount_proc() -> Result<()> {
    make_mount_point("/proc")?;
    mounts::mount_proc()
}
// ANCHOR_END: mount_proc

// ANCHOR: mount_dev
/// Mounts a small `/dev` of the container's own, in memory, with the devices every program counts on. It has
/// none of the host's disks; but root inside could still make such a node, for nothing forbids that yet.
pub fn mount_dev() -> Result<()> {
    make_mount_point("/dev")?;
    // MS_NOSUID: no set-user-ID programs here. Not MS_NODEV: device nodes are what it is for.
    // MS_STRICTATIME: as Docker mounts it; here it costs nothing, for there is no disk to write times to.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    mounts::mount("tmpfs", "/dev", "tmpfs", flags, "mode=755").context("mounting tmpfs on /dev")?;
    let mask = umask(Mode::empty()); // else it would take write permission out of the 666
    for (name, major, minor) in DEVICES {
        debug!("mknod(\"/dev/{name}\", S_IFCHR|0666, makedev({major}, {minor}))");
        let everyone = Mode::from_bits_truncate(0o666);
        mknod(&Path::new("/dev").join(name), SFlag::S_IFCHR, everyone, makedev(major, minor))
            .with_context(|| format!("making /dev/{name}"))?;
    }
    umask(mask);
    for (name, target) in DEVICE_LINKS {
        debug!("symlink({target:?}, \"/dev/{name}\")");
        symlink(target, Path::new("/dev").join(name)).with_context(|| format!("linking /dev/{name}"))?;
    }
    Ok(())
}
// ANCHOR_END: mount_dev

// ANCHOR: make_mount_point
/// Makes a directory to mount on, unless the image has one.
fn make_mount_point(path: &str) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making the mount point {path}"))
        }
        _ => Ok(()),
    }
}
// ANCHOR_END: make_mount_point

// ANCHOR: change_directory
fn change_directory(path: &Path) -> Result<()> {
    debug!("chdir({path:?})");
    chdir(path).with_context(|| format!("changing directory to {}", path.display()))
}
// ANCHOR_END: change_directory
