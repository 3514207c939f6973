//! The mount table as the kernel tells it, and mount(2) in the few forms that the lab has use for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::makedev;

/// Sets how mounts of this host spread to the namespaces that are made from it.
pub(crate) fn propagation(kind: MsFlags) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | kind, none).with_context(|| format!("setting / to {kind:?}"))
}

/// `mount --bind source target`, on the check's own host.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<()> {
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("binding {} on {}", source.display(), target.display()))
}

/// Changes the flags of a mount: `mount -o remount,bind,...`.
pub(crate) fn rebind(target: &Path, flags: MsFlags) -> Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
    mount(none, target, none, flags, none).with_context(|| format!("remounting {}", target.display()))
}

/// Mounts a new tmpfs.
pub(crate) fn tmpfs(target: &Path, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("mounting a tmpfs on {}", target.display()))
}

/// One line of a mount table (`man 5 proc_pid_mountinfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The device number of its file system, as stat(2) has it.
    device: u64,
    /// Which directory of the file system is seen here.
    pub(crate) root: String,
    /// Where.
    pub(crate) point: String,
    /// `rw,nosuid,...`: of this mount.
    pub(crate) options: String,
    pub(crate) filesystem: String,
    /// `rw,memory,...`: of the file system.
    pub(crate) super_options: String,
    /// The whole of it.
    pub(crate) line: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<_> = left.split(' ').collect();
        let right: Vec<_> = right.split(' ').collect();
        let (major, minor) = left.get(2)?.split_once(':')?;
        Some(Mount {
            device: makedev(major.parse().ok()?, minor.parse().ok()?),
            root: unescaped(left.get(3)?),
            point: unescaped(left.get(4)?),
            options: left.get(5)?.to_string(),
            filesystem: right.first()?.to_string(),
            super_options: right.get(2)?.to_string(),
            line: line.to_string(),
        })
    }

    /// Whether its path leads to it. Another mount may cover it.
    pub(crate) fn is_visible(&self) -> bool {
        fs::metadata(&self.point).is_ok_and(|data| data.dev() == self.device)
    }

    /// Whether what is mounted below it appears in other namespaces too.
    pub(crate) fn is_shared(&self) -> bool {
        self.line.contains(" shared:")
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescaped(field: &str) -> String {
    let pairs = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    pairs.into_iter().fold(field.to_string(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// The mount table of the check's own host.
pub(crate) fn table() -> Result<Vec<Mount>> {
    table_in(Path::new("/proc/thread-self/mountinfo"))
}

/// A mount of each cgroup hierarchy: the first that a path leads to, for some hosts mount one at several places.
pub(crate) fn hierarchies() -> Result<Vec<Mount>> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in table()?.into_iter().filter(|mount| mount.filesystem.starts_with("cgroup")) {
        if mount.is_visible() && !found.iter().any(|other| other.device == mount.device) {
            found.push(mount);
        }
    }
    Ok(found)
}

/// The mount table of a process, from its `mountinfo` file.
pub(super) fn table_in(file: &Path) -> Result<Vec<Mount>> {
    // Not every path in it is text.
    let table = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(String::from_utf8_lossy(&table).lines().filter_map(Mount::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime shared:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.root.as_str(), mount.point.as_str()), ("/mnt1", "/mnt 2"));
        assert!(mount.has("noatime") && !mount.has("time"));
        assert_eq!(mount.super_options, "rw,errors=continue");
    }
}
