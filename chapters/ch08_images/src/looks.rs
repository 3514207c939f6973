//! How a file looks: owner, mode, attributes and time. chown(2), chmod(2), setxattr(2), utimensat(2).

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use tar::EntryType;

use crate::entry::Entry;
use crate::whiteout::OVERLAYS_OWN;

/// Gives a file its owner, mode, attributes and time, in this order: a new owner takes set-user-ID and capabilities away.
pub fn dress(path: &Path, entry: &Entry) -> Result<()> {
    lchown(path, Some(entry.user), Some(entry.group)).context("setting its owner")?;
    if entry.kind != EntryType::Symlink {
        fs::set_permissions(path, Permissions::from_mode(entry.mode)).context("setting its mode")?;
    }
    for (name, value) in &entry.attributes {
        // What overlayfs notes for itself is no business of a layer's: with such words it would show other files.
        if !name.as_encoded_bytes().starts_with(OVERLAYS_OWN.as_bytes()) {
            xattr::set(path, name, value).with_context(|| format!("setting its attribute {name:?}"))?;
        }
    }
    set_time(path, &entry.time)
}

/// Makes a directory look as another one: owner, mode, attributes and time.
pub fn copy_looks(from: &Path, to: &Path) -> Result<()> {
    let data = from.symlink_metadata()?;
    lchown(to, Some(data.uid()), Some(data.gid())).context("setting its owner")?;
    fs::set_permissions(to, Permissions::from_mode(data.mode() & 0o7777)).context("setting its mode")?;
    for name in xattr::list(from).context("listing attributes")? {
        if !name.as_encoded_bytes().starts_with(OVERLAYS_OWN.as_bytes()) {
            let value = xattr::get(from, &name).with_context(|| format!("reading the attribute {name:?}"))?;
            xattr::set(to, &name, &value.unwrap_or_default())
                .with_context(|| format!("setting its attribute {name:?}"))?;
        }
    }
    set_time(to, &time_of(&data))
}

/// Does something in a directory that must not be seen in its time.
pub fn keeping_time(directory: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let data = directory.symlink_metadata().with_context(|| format!("looking at {}", directory.display()))?;
    work()?;
    set_time(directory, &time_of(&data))
}

fn time_of(data: &Metadata) -> TimeSpec {
    TimeSpec::new(data.mtime(), data.mtime_nsec())
}

/// Of a link: its own time, not that of what it leads to.
fn set_time(path: &Path, time: &TimeSpec) -> Result<()> {
    utimensat(AT_FDCWD, path, time, time, UtimensatFlags::NoFollowSymlink)
        .with_context(|| format!("setting the time of {}", path.display()))
}
