//! Where the runtime keeps its files on the host, and who else could have a hand in there: hier(7), mkdir(2), inode(7).

use std::env;
use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use log::debug;

/// The state directory: `$BYHAND_ROOT`, or `/var/lib/byhand`. It need not exist yet.
pub fn root() -> Result<PathBuf> {
    let root = env::var_os("BYHAND_ROOT").filter(|root| !root.is_empty());
    // Absolute, for it is used in mounts, and those outlive a change of directory.
    let root = path::absolute(root.unwrap_or_else(|| "/var/lib/byhand".into()));
    let root = root.context("finding the state directory")?;
    // A ring of links: here the kernel says so, and below we would follow it for ever.
    root.try_exists().with_context(|| format!("looking at {}", root.display()))?;
    ensure_ours(&root, true).with_context(|| format!("using {} as the state directory", root.display()))?;
    Ok(root)
}

/// Fails where others than root, and whoever became root by sudo, could change what the path leads to: we delete in
/// there, as root, and they could have us delete anything.
///
/// `is_whole` unless more names follow, as behind a link in the middle of a path.
fn ensure_ours(path: &Path, is_whole: bool) -> Result<()> {
    for part in path.ancestors() {
        let data = match part.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            data => data.with_context(|| format!("looking at {}", part.display()))?,
        };
        ensure!(is_trusted("SUDO_UID", data.uid()), "{} belongs to user {}", part.display(), data.uid());
        if data.is_symlink() {
            let target =
                fs::read_link(part).with_context(|| format!("reading the link {}", part.display()))?;
            ensure_ours(&part.parent().unwrap_or(part).join(target), is_whole && part == path)?;
        } else if others_write(&data) && (is_whole && part == path || data.mode() & STICKY == 0) {
            let part = part.display();
            bail!("others can write to {part} (mode {:o}): chmod go-w {part}", data.mode() & 0o7777);
        }
    }
    Ok(())
}

/// In such a directory, as in /tmp, everybody may make what they like, but not touch what is somebody else's.
const STICKY: u32 = 0o1000;

fn others_write(data: &Metadata) -> bool {
    let group = data.mode() & 0o020 != 0 && !is_trusted("SUDO_GID", data.gid());
    group || data.mode() & 0o002 != 0
}

/// Whether this is root's number, or that of the one who called sudo, which sudo tells.
fn is_trusted(variable: &str, number: u32) -> bool {
    number == 0 || env::var(variable).is_ok_and(|text| text == number.to_string())
}

/// Makes a directory of the state directory, and those above it, unless they are there; closed to all but root.
pub fn make_private(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}

/// Makes a directory that must be new.
pub fn make_directory(path: &Path, mode: u32) -> Result<()> {
    debug!("mkdir({path:?}, 0{mode:o})");
    let made = DirBuilder::new().mode(mode).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}
