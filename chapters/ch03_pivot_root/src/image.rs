//! Which directory is a container's root: one that the user names, or the busybox image, made when it is first wanted.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch02_cgroups::files::exists;

use crate::{busybox, state, tarball, whole};

/// Checks the directory that the user wants as a root, and returns its absolute path without links.
pub fn checked(directory: &Path) -> Result<PathBuf> {
    let context = || format!("using {directory:?} as the root");
    let mut entries = fs::read_dir(directory).with_context(context)?;
    // We would have to begin it with mount points, and then find no command there.
    ensure!(entries.next().is_some(), "the root {directory:?} is an empty directory");
    directory.canonicalize().with_context(context)
}

/// The busybox image below the state directory, made first if it is not there: from `images/busybox.tar`, or else from
/// the host's own busybox. Returns its path.
pub fn busybox(state_directory: &Path) -> Result<PathBuf> {
    let images = state_directory.join("images");
    let image = images.join("busybox");
    if exists(&image)? {
        return Ok(image);
    }
    let tar = images.join("busybox.tar");
    let is_packed = exists(&tar)?;
    // Looked for before anything is made, so that a host without one is left as it was.
    let source = if is_packed { tar } else { busybox::find()? };
    state::make_private(&images)?;
    whole::make(&image, |unfinished| {
        let fill = if is_packed { tarball::unpack } else { busybox::install };
        fill(&source, unfinished)?;
        checked(unfinished).map(drop) // an empty image would stay for ever, and have no command
    })?;
    Ok(image)
}
