//! Where a volume is mounted: a place in the container's root, found or made. mkdir(2), open(2).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::paths;
use crate::spec::Volume;

/// What the container mounts itself, after the volumes, and would hide them with.
pub const COVERED: [&str; 2] = ["/proc", "/dev"];

/// Where the container's own mounts will be: links in the image may lead them elsewhere than to `/proc` and `/dev`.
pub fn covered(root: &Path, own: &[&str]) -> Result<Vec<PathBuf>> {
    let open_all = || own.iter().map(|path| paths::open(Path::new(path))).collect::<Vec<_>>();
    let opened = paths::within(root, open_all)?;
    let place = |(path, opened): (&&str, io::Result<File>)| match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(PathBuf::from(path.trim_start_matches('/'))),
        opened => paths::inside(root, &opened.with_context(|| format!("looking for {path} in the image"))?),
    };
    own.iter().zip(opened).map(place).collect()
}

/// Fails for what the container's own mounts would cover, and for what they would lie in.
pub fn ensure_visible(inside: &Path, covered: &[PathBuf]) -> Result<()> {
    match covered.iter().find(|own| inside.starts_with(own) || own.starts_with(inside)) {
        Some(own) => bail!("the container's own mount on /{} would cover it", own.display()),
        None => Ok(()),
    }
}

/// The path of an open target, without links, where it is one that a volume can be mounted on.
pub fn path_below(root: &Path, target: &File, covered: &[PathBuf]) -> Result<PathBuf> {
    let path = paths::of(target)?;
    let inside = paths::inside(root, target)?;
    ensure!(inside.components().next().is_some(), "links in the image lead to the container's root");
    ensure_visible(&inside, covered)?;
    Ok(path)
}

/// Whether the source is a directory, or will be one: what is missing is made as a directory.
fn is_directory(source: &Path) -> bool {
    source.is_dir() || !source.exists()
}

/// Opens the target if it is there. Not by joining two paths: a link to `/etc` in the image would lead to the
/// host's.
pub fn find(root: &Path, volume: &Volume, covered: &[PathBuf]) -> Result<Option<File>> {
    let (target, missing) = paths::within(root, || paths::open_nearest(&volume.target))??;
    if missing.components().next().is_some() {
        // It will be made below the nearest directory that there is.
        ensure_visible(&paths::inside(root, &target)?.join(missing), covered)?;
        return Ok(None);
    }
    let path = path_below(root, &target, covered)?;
    // A bind mount covers a directory with a directory, and a file with a file.
    match (is_directory(&volume.source), path.is_dir()) {
        (true, false) => bail!("SRC is a directory, and what is at DST is not"),
        (false, true) => bail!("SRC is a file, and what is at DST is a directory"),
        _ => Ok(Some(target)),
    }
}

/// Makes a target of the kind that the source is.
pub fn make(root: &Path, volume: &Volume) -> Result<File> {
    let directory = is_directory(&volume.source);
    let directories = if directory { &volume.target } else { volume.target.parent().context("DST is /")? };
    let make = || {
        DirBuilder::new().recursive(true).mode(0o755).create(directories)?;
        if !directory {
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&volume.target)?;
        }
        paths::open(&volume.target)
    };
    Ok(paths::within(root, make)??)
}
