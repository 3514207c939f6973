//! Directories and files of the host, inside the container: bind mounts. mount(2), mkdir(2).

use std::fs::DirBuilder;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch01_run::mounts;
use log::debug;
use nix::mount::MsFlags;

use crate::spec::Volume;
use crate::{read_only, target};

/// Mounts the volumes below the directory `root`, which is to be the container's root. Call it in the
/// container's mount namespace, after the root is mounted there and before the pivot: only then are both in
/// sight, the host's files and the container's. What `root` lacks is made, and so is a missing source.
pub fn mount_all(volumes: &[Volume], root: &Path, own: &[&str]) -> Result<()> {
    if volumes.is_empty() {
        return Ok(());
    }
    // Without links, as the kernel will tell the paths below it.
    let root = root.canonicalize().with_context(|| format!("looking for {}", root.display()))?;
    let covered = target::covered(&root, own)?;
    // All are looked at before anything is made, so that a bad one leaves nothing behind.
    for volume in volumes {
        ensure_no_dead_link(&volume.source)?;
        target::find(&root, volume, &covered).with_context(|| describe(volume))?;
    }
    let mut taken = Vec::new();
    for volume in volumes {
        taken.push(mount(&root, volume, &covered, &taken).with_context(|| describe(volume))?);
    }
    ensure_all_visible(&root, volumes, &taken, own)
}

/// Looks once more: a volume may have brought what a link at /proc or /dev leads to, which led nowhere before.
fn ensure_all_visible(root: &Path, volumes: &[Volume], taken: &[PathBuf], own: &[&str]) -> Result<()> {
    let covered = target::covered(root, own)?;
    for (volume, path) in volumes.iter().zip(taken) {
        target::ensure_visible(path.strip_prefix(root)?, &covered).with_context(|| describe(volume))?;
    }
    Ok(())
}

/// Returns the path that the volume is mounted on, for the next ones to keep away from.
fn mount(root: &Path, volume: &Volume, covered: &[PathBuf], taken: &[PathBuf]) -> Result<PathBuf> {
    let target = match target::find(root, volume, covered)? {
        Some(target) => target,
        None => target::make(root, volume)?,
    };
    let path = target::path_below(root, &target, covered)?;
    debug!("open({path:?}, O_PATH) = {}", target.as_raw_fd());
    // What came along with another volume from the host may be covered, but no volume by the next one.
    let hides = taken.iter().any(|other| other.starts_with(&path));
    ensure!(!hides, "links in the image lead to where it would hide another volume");
    make_source(&volume.source)?;
    // This link takes the kernel to the very file that was found, whatever its name leads to by now.
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    // MS_REC: with what is mounted below it on the host; else those places would show as empty.
    mounts::mount(&volume.source, target, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
    if volume.read_only {
        read_only::make(&path)?;
    }
    Ok(path)
}

/// A source that is missing becomes a directory, as with Docker.
fn make_source(source: &Path) -> Result<()> {
    if !source.exists() {
        debug!("mkdir({source:?}, 0755)");
        let made = DirBuilder::new().recursive(true).mode(0o755).create(source);
        made.with_context(|| format!("making {}", source.display()))?;
    }
    Ok(())
}

fn ensure_no_dead_link(source: &Path) -> Result<()> {
    let dead = source.is_symlink() && !source.exists();
    ensure!(!dead, "volume {}: it is a link that leads nowhere", source.display());
    Ok(())
}

fn describe(volume: &Volume) -> String {
    format!("mounting volume {} on {}", volume.source.display(), volume.target.display())
}
