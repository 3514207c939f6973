//! A program that nobody can write to while it runs: open_tree(2), mount_setattr(2), execveat(2), statvfs(3).
//!
//! A process that enters a container is seen there before it has become the command, and its program can be opened there
//! as /proc/PID/exe: the host's own file. Whoever is root inside could write to it, and the next one who enters runs what
//! was written, outside (CVE-2019-5736). So the program is executed once more, before it enters, through a mount of its
//! file that is read-only and that nobody can reach to change that.

use std::convert::Infallible;
use std::env;
use std::ffi::{CStr, OsStr, OsString};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use ch01_run::exec::c_strings;
use log::debug;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::execveat;

/// What this process runs.
const OURSELVES: &CStr = c"/proc/self/exe";

/// The path of what is open itself.
const ITSELF: &CStr = c"";

/// Executes this program again, with the same arguments, unless it runs from where it cannot be written to. Call it before
/// anything is made.
pub fn seal() -> Result<()> {
    let here = statvfs(OURSELVES).context("looking at our own program")?;
    if here.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let Err(error) = execute_sealed();
    Err(error.context("executing our own program from a read-only mount"))
}

fn execute_sealed() -> Result<Infallible> {
    let file = clone_mount()?;
    make_read_only(&file)?;
    let arguments = c_strings(&env::args_os().collect::<Vec<_>>())?;
    let variables = env::vars_os().map(|(name, value)| [name, value].join(OsStr::new("=")));
    let variables = c_strings(&variables.collect::<Vec<OsString>>())?;
    debug!("execveat({}, \"\", AT_EMPTY_PATH)", file.as_raw_fd());
    Ok(execveat(&file, ITSELF, &arguments, &variables, AtFlags::AT_EMPTY_PATH)?)
}

/// A mount of our program's file and nothing else. It is in no mount namespace, and has no place in any tree. As soon as
/// execve(2) has closed this descriptor it cannot be found again, and mount(2), mount_setattr(2) and open_tree(2) refuse it
/// to one who gets hold of a file in it: that could make it, or a copy, writable.
fn clone_mount() -> Result<OwnedFd> {
    debug!("open_tree(AT_FDCWD, {OURSELVES:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)");
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the kernel reads a path that lives as long as the call, and makes a descriptor that is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, OURSELVES.as_ptr(), flags);
        Errno::result(fd).map(|fd| OwnedFd::from_raw_fd(fd as i32))
    }
    .context("mounting our own program")
}

fn make_read_only(mount: &OwnedFd) -> Result<()> {
    debug!("mount_setattr({}, \"\", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY)", mount.as_raw_fd());
    let change =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the kernel reads a path and a structure, of the size that is told, which live as long as the call.
    let changed = unsafe {
        let (mount, path) = (mount.as_raw_fd(), ITSELF.as_ptr());
        let size = size_of::<libc::mount_attr>();
        libc::syscall(libc::SYS_mount_setattr, mount, path, libc::AT_EMPTY_PATH, &raw const change, size)
    };
    Errno::result(changed).map(drop).context("making that mount read-only")
}
