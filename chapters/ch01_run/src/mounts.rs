//! Mounts seen by one container only: mount(2), mount_namespaces(7), proc(5).

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::mount::MsFlags;

/// mount(2), told in the debug log as the call that it is.
///
/// An argument that the kernel does not look at in a given use is an empty string.
pub fn mount(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    filesystem: &str,
    flags: MsFlags,
    data: impl AsRef<OsStr>,
) -> nix::Result<()> {
    let (source, target, data) = (source.as_ref(), target.as_ref(), data.as_ref());
    debug!("mount({source:?}, {target:?}, {filesystem:?}, {}, {data:?})", names(flags));
    nix::mount::mount(Some(source), target, Some(filesystem), flags, Some(data))
}

/// The flags as C programmers write them: `MS_REC|MS_PRIVATE`, or `0`.
fn names(flags: MsFlags) -> String {
    let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "0".to_string() } else { names.join("|") }
}

/// Cuts every mount of this namespace off from the host's.
///
/// A new mount namespace begins as a copy of the old one, and on most machines the copies are
/// *shared* peers: a mount made in one appears in the other. So this comes before any other mount.
/// MS_PRIVATE ends the sharing in both directions; MS_REC does it for `/` and all that is below.
pub fn make_private() -> Result<()> {
    let made = mount("", "/", "", MsFlags::MS_REC | MsFlags::MS_PRIVATE, "");
    let hint = if made == Err(Errno::EINVAL) { " (it is no mount point: is this a chroot?)" } else { "" };
    made.with_context(|| format!("making / private{hint}"))
}

/// Mounts a new proc file system on `/proc`. It shows the PID namespace of the process that mounts it.
///
/// Nothing in /proc is a program, a device or a set-user-ID file, so the flags forbid all three:
/// MS_NOEXEC, MS_NODEV, MS_NOSUID.
pub fn mount_proc() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount("proc", "/proc", "proc", flags, "").context("mounting proc on /proc")
}
