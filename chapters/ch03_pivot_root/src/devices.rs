//! The container's own `/dev`: mknod(2), symlink(2), null(4), tmpfs(5), and devices.txt of the kernel.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use ch01_run::mounts;
use log::debug;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};

use crate::rootfs::make_mount_point;

/// The devices that every program counts on, with their major and minor numbers.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// How programs name their own open files.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Mounts a small `/dev` of the container's own, with the devices every program counts on. It has none of the host's
/// disks; but root inside could still make a node for one: nothing forbids that yet.
pub fn mount_dev() -> Result<()> {
    mount_tmpfs()?;
    make_nodes()?;
    make_links()
}

/// In memory, because it has nothing to keep.
fn mount_tmpfs() -> Result<()> {
    make_mount_point("/dev")?;
    // MS_NOSUID: no set-user-ID programs here. Not MS_NODEV: device nodes are what it is for.
    // MS_STRICTATIME: as Docker mounts it; here it costs nothing, because there is no disk to write times to.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    mounts::mount("tmpfs", "/dev", "tmpfs", flags, "mode=755").context("mounting tmpfs on /dev")
}

/// A node is a name for two numbers, and the numbers are the device.
fn make_nodes() -> Result<()> {
    let mask = umask(Mode::empty()); // else it would take write permission out of the 666
    for (name, major, minor) in DEVICES {
        debug!("mknod(\"/dev/{name}\", S_IFCHR|0666, makedev({major}, {minor}))");
        let everyone = Mode::from_bits_truncate(0o666);
        mknod(&Path::new("/dev").join(name), SFlag::S_IFCHR, everyone, makedev(major, minor))
            .with_context(|| format!("making /dev/{name}"))?;
    }
    umask(mask);
    Ok(())
}

fn make_links() -> Result<()> {
    for (name, target) in DEVICE_LINKS {
        debug!("symlink({target:?}, \"/dev/{name}\")");
        symlink(target, Path::new("/dev").join(name)).with_context(|| format!("linking /dev/{name}"))?;
    }
    Ok(())
}
