//! What a path means in another root, and where it leads: chroot(2), open(2), path_resolution(7), symlink(7).

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::debug;
use nix::libc::O_PATH;
use nix::unistd::{chroot, fchdir};

/// Does `work` where `/` is `root`, so that the kernel follows links as it will for the container: `/` in a link
/// is `root`, and so is `..` from there.
///
/// chroot(2) is no wall, as we show by coming back: who has a directory open outside can go there. That it
/// changes what paths mean is all that is asked of it here.
pub fn within<T>(root: &Path, work: impl FnOnce() -> T) -> Result<T> {
    let host = File::open("/").context("opening the host's root")?;
    debug!("chroot({root:?})");
    chroot(root).with_context(|| format!("changing the root to {}", root.display()))?;
    let done = work();
    debug!("fchdir({}), chroot(\".\")", host.as_raw_fd());
    fchdir(&host).and_then(|()| chroot(".")).context("changing the root back to the host's")?;
    Ok(done)
}

/// Opens a path as a place only, whatever is there: O_PATH.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(O_PATH).open(path)
}

/// The real path of an open file, without links.
pub fn of(open: &File) -> Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).context("reading the target's path")
}

/// The path of an open file relative to the root.
pub fn inside(root: &Path, open: &File) -> Result<PathBuf> {
    Ok(of(open)?.strip_prefix(root).context("the target left the root")?.to_path_buf())
}

/// Opens a path, or if it is not there, the nearest one above it that is. The second is what is missing.
pub fn open_nearest(path: &Path) -> io::Result<(File, PathBuf)> {
    match (open(path), path.parent(), path.file_name()) {
        (Err(error), Some(above), Some(name)) if error.kind() == ErrorKind::NotFound => {
            let (nearest, missing) = open_nearest(above)?;
            Ok((nearest, missing.join(name)))
        }
        (opened, ..) => Ok((opened?, PathBuf::new())),
    }
}
