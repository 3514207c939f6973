//! One file, one fact, whole or not at all: open(2), write(2), ftruncate(2), rename(2).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use log::debug;

/// Writes a file of this name in the directory, for root only. Who reads it meanwhile gets what was there before, or the
/// new one: the kernel puts a name in another's place in one step.
pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    debug!("rename({new:?}, {path:?})");
    let mut file = open(&new)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?; // what a killed one had begun may have been longer, and so is a reserve
    fs::rename(&new, &path)
}

/// Sees to it that a short fact of this name can be written later, when the disk may be full: the new file is there already
/// and has its block.
pub fn reserve(directory: &Path, name: &str) -> io::Result<()> {
    open(&directory.join(format!("{name}.new")))?.write_all(&[b'\n'; 64])
}

/// Not emptied: that would give the block away, perhaps to somebody else.
fn open(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Strings for a fact: each with a NUL byte at its end, which is the one byte that none of them has.
pub fn join<'a>(strings: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    strings.into_iter().flat_map(|string| string.iter().copied().chain([0])).collect()
}

/// The strings of such a fact.
pub fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.strip_suffix(b"\0").map_or(Vec::new(), |bytes| bytes.split(|byte| *byte == 0).collect())
}
