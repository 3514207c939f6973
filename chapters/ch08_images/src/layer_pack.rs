//! A layer, from a directory that overlayfs wrote in, to a tar stream: tar(5), openat(2), listxattr(2).
//!
//! The same directory makes the same stream, byte for byte, so that it has the same digest: names are sorted, and nothing in
//! the stream says when or where it was made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write, empty, repeat};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch02_cgroups::walk::{open_directory, path_to};
use ch07_lifecycle::pack::{header, special_header};
use log::debug;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use tar::{Builder, EntryType, Header};

use crate::whiteout::{OPAQUE, OVERLAYS_OWN, PREFIX, is_opaque, is_whiteout};

/// How many directories may lie in each other: each is one of ours that is open, and some of our stack.
pub const DEEPEST: usize = 500;

/// With these a file is not what it seems to be, but something of a layer below, or hidden. overlayfs only makes them if
/// somebody tells it to.
const NOT_ITSELF: [&str; 3] =
    ["trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.whiteout"];

/// Writes what is in a directory as a layer's tar stream, which is not compressed. What overlayfs has hidden there becomes
/// whiteouts. Sockets are left out.
///
/// A container may be at work in the directory: no link that it makes there is followed, and a file has the length in the
/// stream that it had when it was opened.
pub fn pack(directory: &Path, to: impl Write) -> Result<()> {
    let top = open_directory(directory).with_context(|| format!("opening {}", directory.display()))?;
    let mut packing = Packing { tar: Builder::new(to), names: BTreeMap::new() };
    packing.add_all_in(&top, Path::new(""))?;
    packing.tar.finish().context("writing the end of the tar stream")
}

struct Packing<W: Write> {
    tar: Builder<W>,
    /// The first name of each file that has several.
    names: BTreeMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packing<W> {
    /// Adds what is in an open directory, which has this name in the layer.
    fn add_all_in(&mut self, here: &File, name: &Path) -> Result<()> {
        for entry in sorted(here).with_context(|| format!("listing {name:?}"))? {
            let path = path_to(here).join(&entry);
            let name = name.join(entry);
            debug!("packing {name:?}");
            self.add(&path, &name).with_context(|| format!("packing {name:?}"))?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: &Path) -> Result<()> {
        let data = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // gone since it was listed
            data => data?,
        };
        match data.file_type() {
            _ if is_whiteout(&data) => self.add_whiteout(name),
            kind if kind.is_socket() => Ok(()), // means nothing without who listens there
            kind if kind.is_dir() => self.add_directory(path, name),
            kind if kind.is_file() => self.add_file(path, name),
            kind if kind.is_symlink() => {
                self.add_attributes(path)?;
                let mut header = header(&data, EntryType::Symlink);
                Ok(self.tar.append_link(&mut header, name, fs::read_link(path)?)?)
            }
            _ => {
                self.add_attributes(path)?;
                Ok(self.tar.append_data(&mut special_header(&data)?, name, empty())?)
            }
        }
    }

    /// A file whose name alone says something.
    fn add_whiteout(&mut self, name: &Path) -> Result<()> {
        let mut hidden = OsString::from(PREFIX);
        hidden.push(name.file_name().unwrap_or_default());
        self.add_mark(&name.with_file_name(hidden))
    }

    fn add_mark(&mut self, name: &Path) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        Ok(self.tar.append_data(&mut header, name, empty())?)
    }

    fn add_directory(&mut self, path: &Path, name: &Path) -> Result<()> {
        ensure!(name.components().count() <= DEEPEST, "it lies too deep");
        let open = open_directory(path)?;
        let path = path_to(&open).join(".");
        self.add_attributes(&path)?;
        let mut header = header(&open.metadata()?, EntryType::Directory);
        self.tar.append_data(&mut header, name.join(""), empty())?; // with a slash at its end
        if is_opaque(&path)? {
            self.add_mark(&name.join(OPAQUE))?; // before what is in it, as the specification would like it
        }
        self.add_all_in(&open, name)
    }

    fn add_file(&mut self, path: &Path, name: &Path) -> Result<()> {
        // Not waiting for who writes to a FIFO, if it is one by now.
        let file = File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
        let data = file.metadata()?;
        ensure!(data.is_file(), "it was a file, and is none any more");
        let identity = (data.dev(), data.ino());
        if let Some(first) = self.names.get(&identity) {
            return Ok(self.tar.append_link(&mut header(&data, EntryType::Link), name, first)?);
        }
        if data.nlink() > 1 {
            self.names.insert(identity, name.to_path_buf());
        }
        self.add_attributes(path)?;
        let mut header = header(&data, EntryType::Regular);
        header.set_size(data.len());
        let content = file.chain(repeat(0)).take(data.len());
        Ok(self.tar.append_data(&mut header, name, content)?)
    }

    /// Extended attributes stand before the entry of the file that has them.
    fn add_attributes(&mut self, path: &Path) -> Result<()> {
        let mut attributes = Vec::new();
        for name in xattr::list(path).context("listing its attributes")? {
            let name = name.into_string().ok().context("an attribute's name is no text")?;
            ensure!(
                !NOT_ITSELF.contains(&&*name),
                "it has {name}, so part of it is elsewhere (is overlayfs used with redirect_dir, metacopy or userxattr?)"
            );
            if !name.starts_with(OVERLAYS_OWN) {
                let value =
                    xattr::get(path, &name).with_context(|| format!("reading its attribute {name}"))?;
                attributes.push((format!("SCHILY.xattr.{name}"), value.unwrap_or_default()));
            }
        }
        attributes.sort();
        let attributes = attributes.iter().map(|(name, value)| (&**name, &**value));
        Ok(self.tar.append_pax_extensions(attributes)?)
    }
}

/// The names in an open directory, sorted.
pub(crate) fn sorted(directory: &File) -> Result<Vec<OsString>> {
    let names = fs::read_dir(path_to(directory))?.map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<OsString> = names.collect::<Result<_>>()?;
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}
