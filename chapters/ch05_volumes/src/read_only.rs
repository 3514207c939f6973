//! Read-only, by a second call for each mount: mount(2), proc_pid_mountinfo(5).

use std::path::Path;

use anyhow::{Context, Result};
use ch01_run::mounts;
use ch02_cgroups::mountinfo;
use nix::errno::Errno;
use nix::mount::MsFlags;

/// That a mount follows no links: a flag of Linux 5.10 and newer, which the crate nix has no name for.
const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(nix::libc::MS_NOSYMFOLLOW);

/// Makes what is mounted at `path` read-only, and every mount below it: the flag is one mount's, not the
/// tree's. The kernel ignores MS_RDONLY in the bind mount itself, and so it takes this second step.
///
/// Root in the container can undo it by a remount of its own: until it gives up CAP_SYS_ADMIN, read-only is a
/// guard against accidents.
pub fn make(path: &Path) -> Result<()> {
    for mount in mountinfo::read()?.iter().filter(|mount| mount.target.starts_with(path)) {
        let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        match mounts::mount("", &mount.target, "", remount | guards(&mount.options), "") {
            // Another mount covers it, here as on the host, and no path leads there; or only to a directory of the mount
            // that covers it, which happens to have the same name.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL) if mount.target != path => {}
            made => made.with_context(|| format!("making {} read-only", mount.target.display()))?,
        }
    }
    Ok(())
}

/// Those of a mount's flags that forbid something. A remount sets all flags, and one that the host had on must not be
/// lost on the way. The kernel's list tells them; statvfs(3) would ask the file system, and one on a network may never
/// answer.
fn guards(options: &str) -> MsFlags {
    let mut flags = MsFlags::empty();
    for (name, flag) in [
        ("nosuid", MsFlags::MS_NOSUID),
        ("nodev", MsFlags::MS_NODEV),
        ("noexec", MsFlags::MS_NOEXEC),
        ("nosymfollow", MS_NOSYMFOLLOW),
    ] {
        flags.set(flag, options.split(',').any(|option| option == name));
    }
    flags
}
