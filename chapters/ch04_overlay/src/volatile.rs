//! An overlay that asks nothing of the disk, because its files go with their container: overlayfs.rst, "Volatile mount".

use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::Result;
use ch02_cgroups::walk::open_directory;
use log::debug;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::overlay::{self, explained, mount_with, options};

/// Mounts as [`overlay::mount`] does, and volatile if the kernel lets us: nothing waits for the disk. Without it, the end
/// of the mount writes out all that is unwritten on the file system of `upper`, other programs' data too.
pub fn mount(lowers: &[&Path], upper: &Path, work: &Path, target: &Path) -> Result<()> {
    let mut options = options(lowers, upper, work);
    options.push(",volatile");
    match mount_with(&options, target) {
        // EINVAL: unknown before Linux 5.10. EIO: a write to that disk has failed, and nobody was told yet.
        Err(Errno::EINVAL | Errno::EIO) => overlay::mount(lowers, upper, work, target),
        mounted => explained(mounted, target),
    }
}

/// Removes what every volatile overlay leaves in `work`: an empty file four directories deep, the mark that it may not have
/// been written to the disk. The walk that follows would find it, too, but with some sixty system calls; these are eight.
/// What else there is, and whatever goes wrong, is left to that walk.
pub fn remove_mark(workspace: &Path) {
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
