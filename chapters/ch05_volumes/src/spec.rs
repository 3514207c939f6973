//! What `-v` says: SRC:DST, SRC:DST:ro or SRC:DST:rw. path_resolution(7).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// One `-v SRC:DST[:ro|rw]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// On the host, absolute. A directory or a file; made as a directory if it is not there.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// Parses every `-v`, and refuses two on one target. The order is that of their mounts: `/data` before
/// `/data/sub`, which it would hide.
pub fn parse_all(texts: &[OsString]) -> Result<Vec<Volume>> {
    let mut volumes: Vec<Volume> = Vec::new();
    for text in texts {
        let volume = parse(text).with_context(|| format!("volume {text:?}"))?;
        // Paths are compared by their parts: /data, /data/ and //data/. are one.
        let taken = volumes.iter().any(|other| other.target == volume.target);
        ensure!(!taken, "volume {text:?}: another one is on {:?} already", volume.target);
        volumes.push(volume);
    }
    volumes.sort_by_key(|volume| volume.target.components().count());
    Ok(volumes)
}

fn parse(text: &OsStr) -> Result<Volume> {
    let parts: Vec<_> = text.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes).collect();
    let (source, target, mode) = match parts[..] {
        [source, target] => (source, target, OsStr::new("rw")),
        [source, target, mode] => (source, target, mode),
        _ => bail!("write it as SRC:DST, SRC:DST:ro or SRC:DST:rw"),
    };
    ensure!(!source.is_empty(), "SRC is empty");
    // Shells put the home directory in its place only where it is not in quotes, and begins a word.
    ensure!(!source.as_bytes().starts_with(b"~"), "the shell has left ~ as it is: write $HOME, or ./~");
    let target = Path::new(target);
    ensure!(target.is_absolute(), "DST must be an absolute path");
    ensure!(target.parent().is_some(), "DST is the container's root; the option --rootfs sets that");
    ensure!(!target.components().any(|part| part == Component::ParentDir), "DST must not have .. in it");
    let read_only = match mode.as_bytes() {
        b"ro" => true,
        b"rw" => false,
        _ => bail!("{mode:?} is neither ro nor rw"),
    };
    Ok(Volume { source: std::path::absolute(source)?, target: target.to_path_buf(), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Vec<Volume>> {
        parse_all(&texts.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_forms_of_a_volume() {
        let volumes = parsed(&["/a:/x/y", "/b:/z:ro", "c:/w:rw"]).unwrap();
        let read_only: Vec<_> = volumes.iter().map(|volume| volume.read_only).collect();
        assert_eq!(read_only, [true, false, false], "the least deep come first");
        assert!(volumes[1].source.is_absolute());
        for bad in ["", "a", "a:b", "a:/b:rx", ":/b", "/a:", "a:/", "a:/b/../c", "a:/b:ro:rw", "a:/b:"] {
            assert!(parsed(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_on_one_target() {
        assert!(parsed(&["/a:/x", "/b:/x/"]).is_err());
        assert!(parsed(&["/a:/x", "/b:/x/y"]).is_ok());
    }
}
