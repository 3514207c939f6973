//! What is in a directory, and what it takes on the disk: readdir(3), stat(2).

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What a file or a directory takes on the disk, in bytes. A file with two names counts once. What lies so deep that no path
/// leads there is not counted.
pub fn usage(top: &Path) -> Result<u64> {
    let (mut sum, mut seen, mut rest) = (0, BTreeSet::new(), vec![top.to_path_buf()]);
    while let Some(path) = rest.pop() {
        let data = match path.symlink_metadata() {
            Err(error) if is_out_of_reach(error.kind()) => continue,
            data => data.with_context(|| format!("looking at {}", path.display()))?,
        };
        if data.is_dir() {
            rest.extend(entries(&path)?);
        } else if data.nlink() > 1 && !seen.insert((data.dev(), data.ino())) {
            continue;
        }
        sum += data.blocks() * 512; // of so many bytes, wherever: stat(2)
    }
    Ok(sum)
}

fn is_out_of_reach(kind: ErrorKind) -> bool {
    // Somebody may remove it while we look.
    [ErrorKind::NotFound, ErrorKind::InvalidFilename].contains(&kind)
}

/// The paths of all that is in a directory, in their order; nothing if it is not there.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listing = || format!("listing {}", directory.display());
    let found = match fs::read_dir(directory) {
        Err(error) if is_out_of_reach(error.kind()) => return Ok(Vec::new()),
        found => found.with_context(listing)?,
    };
    let mut paths: Vec<_> =
        found.map(|entry| Ok(entry?.path())).collect::<Result<_>>().with_context(listing)?;
    paths.sort();
    Ok(paths)
}
