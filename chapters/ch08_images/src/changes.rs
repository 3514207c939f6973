//! What a container has changed: its own layer, compared with those below. openat(2), lstat(2).

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch02_cgroups::walk::{open_directory, path_to};

use crate::layer_pack::{DEEPEST, sorted};
use crate::whiteout::{is_opaque, is_whiteout, seen};

/// How something differs from what the image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The image doesn't have it.
    Added,
    /// The image has another.
    Changed,
    /// Only the image has it.
    Deleted,
}

/// One difference. Shown as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How it differs.
    pub kind: Kind,
    /// Where it is in the container.
    pub path: PathBuf,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            Kind::Added => 'A',
            Kind::Changed => 'C',
            Kind::Deleted => 'D',
        };
        write!(f, "{letter} {}", self.path.display())
    }
}

/// How what is seen with a container's layer `upper` on top differs from what is seen without it. `lowers` are the layers
/// below, the topmost first. Each directory comes before what is in it, and if that differs, the directory does.
pub fn changes(upper: &Path, lowers: &[PathBuf]) -> Result<Vec<Change>> {
    let top = open_directory(upper).with_context(|| format!("opening {}", upper.display()))?;
    let mut found = Vec::new();
    compare(&top, lowers, Path::new("/"), &mut found)?;
    Ok(found)
}

/// Compares an open directory of the container's layer with what the directories `below` have together.
fn compare(here: &File, below: &[PathBuf], path: &Path, found: &mut Vec<Change>) -> Result<()> {
    for name in names(here, below).with_context(|| format!("listing {}", path.display()))? {
        let path = path.join(&name);
        let looking = || format!("looking at {}", path.display());
        let there = path_to(here).join(&name);
        let below = seen(below, &name)?;
        let add = |kind| Change { kind, path: path.clone() };
        let data = match there.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            data => Some(data.with_context(looking)?),
        };
        let old = below.first().map(|below| below.symlink_metadata()).transpose().with_context(looking)?;
        match (old, data.filter(|data| !is_whiteout(data))) {
            (None, None) => {} // only the container has ever seen it
            (Some(_), None) => found.push(add(Kind::Deleted)),
            (old, Some(data)) => {
                let at = found.len();
                if data.is_dir() {
                    ensure!(path.components().count() <= DEEPEST, "{} lies too deep", path.display());
                    let below = if old.as_ref().is_some_and(Metadata::is_dir) { &*below } else { &[] };
                    compare(&open_directory(&there).with_context(looking)?, below, &path, found)?;
                }
                match old {
                    None => found.insert(at, add(Kind::Added)),
                    // overlayfs copies a directory to the container's layer before it changes anything in there.
                    Some(old) if at == found.len() && is_same_directory(&old, &data) => {}
                    Some(_) => found.insert(at, add(Kind::Changed)),
                }
            }
        }
    }
    Ok(())
}

/// The names in an open directory, sorted, and if it hides what is below, the names there as well.
fn names(here: &File, below: &[PathBuf]) -> Result<Vec<OsString>> {
    let mut names = sorted(here)?;
    if is_opaque(&path_to(here).join("."))? {
        for directory in below {
            names.extend(sorted(&open_directory(directory)?)?);
        }
        names.sort();
        names.dedup();
    }
    Ok(names)
}

fn is_same_directory(old: &Metadata, new: &Metadata) -> bool {
    let looks = |data: &Metadata| (data.mode(), data.uid(), data.gid(), data.mtime(), data.mtime_nsec());
    old.is_dir() && looks(old) == looks(new)
}
