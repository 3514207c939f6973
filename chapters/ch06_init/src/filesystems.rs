//! What programs look for in /dev and /sys beyond plain devices: devpts, shared memory, message queues. shm_overview(7),
//! mq_overview(7), pts(4), sysfs(5).

use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use ch01_run::mounts;
use ch03_pivot_root::devices::mount_dev;
use ch03_pivot_root::rootfs::make_mount_point;
use log::debug;
use nix::mount::MsFlags;

/// Where this chapter's own mounts are. They come after the volumes, so no volume may lie there.
pub const PLACES: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Mounts /dev as chapter 3 has it, with what is missing there, and /sys. Shared memory takes at most so many bytes.
pub fn mount_all(shared_memory: u64) -> Result<()> {
    mount_dev()?;
    mount_terminals()?;
    mount_shared_memory(shared_memory)?;
    mount_message_queues()?;
    mount_sys()
}

/// Nothing there is a program, a device or a set-user-ID file.
const NOTHING_SPECIAL: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Mounts terminals of the container's own on /dev/pts. The first that is opened is number 0, whatever the host has.
///
/// - newinstance: since Linux 4.7 each mount of devpts is a new one anyway; before, this asks for it.
/// - ptmxmode=0666: everybody inside may open a new terminal. A new instance would let nobody.
/// - mode=0620, gid=5: a terminal is its user's, and the group tty may write to it, as wall(1) does.
fn mount_terminals() -> Result<()> {
    make_mount_point("/dev/pts")?;
    // Not MS_NODEV: these are devices.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mounts::mount("devpts", "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=0620,gid=5")
        .context("mounting devpts on /dev/pts")?;
    debug!("symlink(\"pts/ptmx\", \"/dev/ptmx\")");
    symlink("pts/ptmx", "/dev/ptmx").context("linking /dev/ptmx")
}

/// Mounts memory that processes share by name, at most `size` bytes, for everybody, as /tmp is.
fn mount_shared_memory(size: u64) -> Result<()> {
    make_mount_point("/dev/shm")?;
    mounts::mount("shm", "/dev/shm", "tmpfs", NOTHING_SPECIAL, format!("mode=1777,size={size}"))
        .context("mounting tmpfs on /dev/shm")
}

/// Mounts the POSIX message queues of the container's own IPC namespace.
fn mount_message_queues() -> Result<()> {
    make_mount_point("/dev/mqueue")?;
    mounts::mount("mqueue", "/dev/mqueue", "mqueue", NOTHING_SPECIAL, "").context("mounting /dev/mqueue")
}

/// Mounts /sys, for reading: it shows the network namespace of the process that mounts it, and otherwise the host's
/// devices, with switches that would be the host's too.
fn mount_sys() -> Result<()> {
    make_mount_point("/sys")?;
    mounts::mount("sysfs", "/sys", "sysfs", NOTHING_SPECIAL | MsFlags::MS_RDONLY, "")
        .context("mounting sysfs on /sys")
}
