//! A directory tree at one moment, to be compared with the same tree later.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::see;

/// Everything below a directory: names, kinds, modes, owners, times, devices, links, contents.
#[derive(Debug)]
pub(crate) struct Snapshot {
    top: PathBuf,
    entries: BTreeMap<PathBuf, String>,
}

impl Snapshot {
    pub(crate) fn of(top: &Path) -> Result<Snapshot> {
        let mut entries = BTreeMap::new();
        add(top, &mut entries).with_context(|| format!("taking a snapshot of {}", top.display()))?;
        Ok(Snapshot { top: top.to_path_buf(), entries })
    }

    /// Fails if anything is different now.
    pub(crate) fn still(&self, did: &str) -> Result<()> {
        let now = Snapshot::of(&self.top)?;
        let mut changes = Vec::new();
        for (path, was) in &self.entries {
            match now.entries.get(path) {
                None => changes.push(format!("{} is gone", path.display())),
                Some(is) if is != was => changes.push(format!("{} was {was}, is {is}", path.display())),
                Some(_) => {}
            }
        }
        let new = now.entries.keys().filter(|path| !self.entries.contains_key(*path));
        changes.extend(new.map(|path| format!("{} is new", path.display())));
        if changes.is_empty() {
            return Ok(());
        }
        changes.truncate(10);
        Err(see::differs(did, format!("{} as it was", self.top.display()), changes.join("; ")))
    }
}

fn add(path: &Path, entries: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    let data = fs::symlink_metadata(path)?;
    entries.insert(path.to_path_buf(), described(path, &data)?);
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            add(&entry?.path(), entries)?;
        }
    }
    Ok(())
}

fn described(path: &Path, data: &Metadata) -> Result<String> {
    let content = if data.is_symlink() {
        fs::read_link(path)?.display().to_string()
    } else if data.is_file() {
        let mut hasher = DefaultHasher::new();
        fs::read(path)?.hash(&mut hasher);
        format!("{} bytes, hash {:x}", data.len(), hasher.finish())
    } else {
        String::new()
    };
    let (mode, owner, group, links) = (data.mode(), data.uid(), data.gid(), data.nlink());
    let (device, seconds, nanoseconds) = (data.rdev(), data.mtime(), data.mtime_nsec());
    Ok(format!(
        "{mode:o} {owner}:{group} {links} links, device {device}, {seconds}.{nanoseconds:09}, {content}"
    ))
}
