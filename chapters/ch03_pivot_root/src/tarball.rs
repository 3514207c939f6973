//! An image from a tar file, as `docker export` writes it: tar(5).

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use log::debug;
use tar::{Archive, Entry, EntryType};

/// Unpacks `tar` into the directory `root`, with owners and modes. Whatever would be written, linked or
/// read outside of `root` is an error: a tar file is somebody else's words.
pub fn unpack(tar: &Path, root: &Path) -> Result<()> {
    debug!("unpacking {tar:?} in {root:?}");
    let context = || format!("unpacking {tar:?} (a tar file that is not compressed)");
    let file = File::open(tar).with_context(context)?;
    let mut archive = Archive::new(BufReader::new(file));
    archive.set_preserve_permissions(true); // set-user-ID bits too
    archive.set_preserve_ownerships(true);
    for entry in archive.entries().with_context(context)? {
        let mut entry = entry.with_context(context)?;
        let name = entry.path().with_context(context)?.into_owned();
        unpack_entry(&mut entry, &name, root)
            .with_context(|| format!("entry {name:?}"))
            .with_context(context)?;
    }
    Ok(())
}

fn unpack_entry(entry: &mut Entry<'_, impl io::Read>, name: &Path, root: &Path) -> Result<()> {
    let plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
    ensure!(name.components().all(plain), "its name leads out of the image");
    match entry.header().entry_type() {
        // The container gets a /dev of its own, and an image has no business with other devices.
        kind @ (EntryType::Block | EntryType::Char | EntryType::Fifo) => {
            bail!("it is a device or a FIFO ({kind:?}), which an image may not bring along")
        }
        EntryType::Link => {
            let target = entry.link_name()?.context("it is a hard link to nothing")?;
            ensure!(target.components().all(plain), "it is a hard link that leads out of the image");
        }
        _ => {}
    }
    // The crate looks through the links that earlier entries made, and says no if they lead out.
    ensure!(entry.unpack_in(root)?, "its name leads out of the image");
    Ok(())
}
