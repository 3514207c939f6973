//! A layer, from a tar stream to a directory for overlayfs: openat2(2), mknod(2), link(2).
//!
//! The stream is a stranger's. No entry is put, and no link is followed, outside of the directory: which directory a name
//! means, the kernel says, for whom the layer is all that there is (RESOLVE_IN_ROOT). Its last part is never followed.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ch03_pivot_root::removal;
use ch05_volumes::paths;
use log::debug;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use tar::EntryType;

use crate::entries::Entries;
use crate::entry::Entry;
use crate::looks::{copy_looks, dress, keeping_time};
use crate::whiteout::{Meaning, is_whiteout, make_opaque, make_whiteout, meaning, relative, seen, seen_at};

/// Unpacks a layer's tar stream, which is not compressed, into an empty directory. `lowers` are the layers below it, unpacked,
/// the topmost first. Reads the stream to its end. After an error, what has been unpacked so far is there.
///
/// What the layers below have does not change, but it matters: a whiteout is made only of what is there to be hidden, and a
/// directory which has things in this layer, but no entry, looks as it does below.
pub fn unpack(tar: impl Read, lowers: &[PathBuf], directory: &Path) -> Result<()> {
    let root = paths::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    let mut layers = vec![paths::of(&root)?];
    layers.extend_from_slice(lowers);
    let layer = Layer { root, layers };
    // As any directory: if the layer has no entry for it, it looks as it does below.
    lowers
        .first()
        .map_or(Ok(()), |below| copy_looks(below, layer.path()))
        .context("copying the root's looks")?;
    let mut entries = Entries::new(BufReader::new(tar));
    let mut shows_nothing_below = false;
    while let Some(entry) = entries.next_entry()? {
        debug!("{:?}: {:?}", entry.kind, entry.name);
        let done = layer.put(&entry, &mut entries);
        shows_nothing_below |= done.with_context(|| format!("unpacking {:?}", entry.name))?;
    }
    if shows_nothing_below {
        layer.hide_all_below()?;
    }
    entries.finish()
}

struct Layer {
    /// Its directory.
    root: File,
    /// The paths of all layers, the topmost first, which is this one.
    layers: Vec<PathBuf>,
}

impl Layer {
    fn path(&self) -> &Path {
        &self.layers[0]
    }

    /// Does what an entry says. Returns true if it says that nothing is to be seen of the layers below.
    fn put(&self, entry: &Entry, entries: &mut Entries<impl Read>) -> Result<bool> {
        let name = relative(&entry.name)?;
        let (Some(above), Some(last)) = (name.parent(), name.file_name()) else {
            ensure!(entry.kind == EntryType::Directory, "the layer itself is no directory");
            dress(self.path(), entry)?;
            return Ok(false);
        };
        for part in above {
            match meaning(part)? {
                Meaning::Plain => {}
                Meaning::Aufs => return Ok(false),
                _ => bail!("it is in a whiteout"),
            }
        }
        let meaning = meaning(last)?;
        if meaning == Meaning::Aufs || (meaning == Meaning::AllGone && above == Path::new("")) {
            return Ok(meaning == Meaning::AllGone);
        }
        let directory = self.directory(above)?;
        // What is put in a directory changes its time, which an earlier entry may have told.
        keeping_time(&directory, || match &meaning {
            Meaning::Gone(hidden) => self.hide(&directory.join(hidden)),
            Meaning::AllGone => hide_in(&directory),
            _ => self.create(entry, &directory.join(last), entries),
        })?;
        Ok(false)
    }

    /// A directory of the layer, as a path without links.
    fn existing(&self, name: &Path) -> nix::Result<File> {
        let name = if name == Path::new("") { Path::new(".") } else { name };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, name, how).map(File::from)
    }

    /// The same, and it's made if there is none.
    ///
    /// Whoever made the layer should have told of it: a tool that leaves out the directories above a file leaves open whose
    /// they are. In an overlay they hide those below, so what those look like is taken from there.
    fn directory(&self, name: &Path) -> Result<PathBuf> {
        match (self.existing(name), name.parent(), name.file_name()) {
            (Err(Errno::ENOENT | Errno::ENOTDIR), Some(above), Some(last)) => {
                let above = self.directory(above)?;
                let path = above.join(last);
                keeping_time(&above, || self.make_above(&path))
                    .with_context(|| format!("making its directory {name:?}"))?;
                Ok(path)
            }
            (found, ..) => paths::of(&found.with_context(|| format!("looking for its directory {name:?}"))?),
        }
    }

    fn make_above(&self, path: &Path) -> Result<()> {
        ensure!(look(path)?.is_none_or(|data| is_whiteout(&data)), "what is there is no directory");
        let below = seen_at(&self.layers, path.strip_prefix(self.path())?)?;
        self.make_directory(path)?;
        match below.first() {
            Some(below) if look(below)?.is_some_and(|data| data.is_dir()) => copy_looks(below, path),
            _ => Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?),
        }
    }

    /// Makes a directory, unless there is one. In place of a whiteout it shows nothing of what that has hidden.
    fn make_directory(&self, path: &Path) -> Result<()> {
        match look(path)? {
            Some(data) if data.is_dir() => return Ok(()),
            there => {
                make_room(path)?;
                DirBuilder::new().mode(0o700).create(path)?;
                if there.is_some_and(|data| is_whiteout(&data)) {
                    make_opaque(path)?;
                }
            }
        }
        Ok(())
    }

    /// Hides what has this name in the layers below, and nothing else: what this layer has there, stays.
    fn hide(&self, path: &Path) -> Result<()> {
        match look(path)? {
            Some(data) if data.is_dir() => hide_in(path),
            Some(_) => Ok(()), // hides it already
            None => {
                let name = path.strip_prefix(self.path())?;
                // Where directories aren't seen as one, overlayfs doesn't look for whiteouts: it would list this one.
                if seen_at(&self.layers, name)?.is_empty() { Ok(()) } else { make_whiteout(path) }
            }
        }
    }

    /// Hides all that the layers below have. overlayfs doesn't look for the mark on a layer's own directory.
    fn hide_all_below(&self) -> Result<()> {
        for lower in &self.layers[1..] {
            for entry in fs::read_dir(lower).with_context(|| format!("listing {}", lower.display()))? {
                let name = entry.with_context(|| format!("listing {}", lower.display()))?.file_name();
                if !seen(&self.layers[1..], &name)?.is_empty() {
                    let path = self.path().join(&name);
                    keeping_time(self.path(), || self.hide(&path))
                        .with_context(|| format!("hiding {name:?}"))?;
                }
            }
        }
        Ok(())
    }

    /// Makes what an entry tells of. Of two with the same name the last counts.
    fn create(&self, entry: &Entry, path: &Path, entries: &mut Entries<impl Read>) -> Result<()> {
        match entry.kind {
            EntryType::Directory => self.make_directory(path)?,
            EntryType::Link => return self.link(entry, path),
            EntryType::Symlink => {
                make_room(path)?;
                symlink(&entry.link, path)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                make_room(path)?;
                let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
                entries.copy(entry, &mut file)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                make_room(path)?;
                make_special(entry, path)?;
            }
            other => bail!("there is no file of the kind {other:?}"),
        }
        dress(path, entry)
    }

    /// Gives a file of this layer another name. The other layers' have none here.
    fn link(&self, entry: &Entry, path: &Path) -> Result<()> {
        let name = relative(&entry.link)?;
        let context = || format!("it is another name of {:?}, which the layer doesn't have", entry.link);
        let (above, last) = (name.parent().with_context(context)?, name.file_name().with_context(context)?);
        let target = paths::of(&self.existing(above).with_context(context)?)?.join(last);
        let data = target.symlink_metadata().with_context(context)?;
        ensure!(!is_whiteout(&data) && target != path, context());
        make_room(path)?;
        fs::hard_link(&target, path).with_context(|| format!("making it another name of {:?}", entry.link))
    }
}

/// What is at a path, if anything is: not what a link there leads to.
fn look(path: &Path) -> Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        data => data.map(Some).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Takes away what has the name.
fn make_room(path: &Path) -> Result<()> {
    match look(path)? {
        None => Ok(()),
        Some(data) if data.is_dir() => removal::remove_tree(path),
        Some(_) => fs::remove_file(path).with_context(|| format!("removing {}", path.display())),
    }
}

/// Hides what the layers below have in a directory of this one. Then there's nothing left for whiteouts in there.
fn hide_in(directory: &Path) -> Result<()> {
    make_opaque(directory)?;
    remove_whiteouts(directory).with_context(|| format!("removing whiteouts in {}", directory.display()))
}

fn remove_whiteouts(directory: &Path) -> Result<()> {
    keeping_time(directory, || {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.symlink_metadata()? {
                data if is_whiteout(&data) => fs::remove_file(&path)?,
                data if data.is_dir() => remove_whiteouts(&path)?,
                _ => {}
            }
        }
        Ok(())
    })
}

/// Makes a device, or a FIFO.
fn make_special(entry: &Entry, path: &Path) -> Result<()> {
    let kind = match entry.kind {
        EntryType::Char => SFlag::S_IFCHR,
        EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    // No program can do anything with it, and overlayfs would hide a file.
    ensure!(
        kind != SFlag::S_IFCHR || entry.device != makedev(0, 0),
        "it is overlayfs's whiteout (character device 0/0)"
    );
    Ok(mknod(path, kind, Mode::from_bits_truncate(0o600), entry.device)?)
}
