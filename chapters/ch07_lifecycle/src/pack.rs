//! Files on their way out, as a tar stream: tar(5), lstat(2), open(2), fgetxattr(2).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read, Write, repeat};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::{debug, warn};
use nix::errno::Errno;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{
    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs,
};
use tar::{Builder, EntryType, Header};
use xattr::FileExt;

/// File systems in which the kernel tells of itself.
const KERNELS_OWN: [FsType; 4] = [PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC];

/// The extended attribute that goes along, as with Docker, and no other: what a program may do that its user may not.
pub const CAPABILITIES: &str = "security.capability";

/// What it's called in a tar stream. Its value is bytes there.
pub const IN_TAR: &str = "SCHILY.xattr.security.capability";

/// And where we read it ourselves, with two digits for each byte: our reader takes a newline for a value's end.
pub const IN_DIGITS: &str = "BYHAND.security.capability";

/// Who is to read a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// This program.
    Ours,
    /// Any that knows tar.
    Any,
}

/// A tar stream that is being written.
struct Packing<W: Write> {
    tar: Builder<W>,
    reader: Reader,
    /// The first name of each file that has several.
    names: BTreeMap<(u64, u64), PathBuf>,
}

/// Writes what is at `path`, and all that is in it, to `out`, under the name `name`. A link is written as a link, unless
/// `follow` says that what it leads to is meant; those further down always are.
pub fn pack(path: &Path, name: &Path, follow: bool, reader: Reader, out: impl Write) -> Result<()> {
    let path = if follow { path.canonicalize() } else { Ok(path.to_path_buf()) };
    let path = path.and_then(|path| path.symlink_metadata().map(|_| path));
    let path = path.context("there is nothing to copy")?;
    let mut packing = Packing { tar: Builder::new(out), reader, names: BTreeMap::new() };
    packing.add(&path, name)?;
    packing.tar.finish().context("writing the end of the tar stream")
}

impl<W: Write> Packing<W> {
    fn add(&mut self, path: &Path, name: &Path) -> Result<()> {
        let data = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // gone since its directory was listed
            data => data.with_context(|| format!("looking at {}", path.display()))?,
        };
        debug!("{path:?} as {name:?}");
        let kind = data.file_type();
        if kind.is_dir() {
            self.add_directory(path, name, &data)
        } else if kind.is_file() {
            self.add_file(path, name)
        } else if kind.is_symlink() {
            let target =
                fs::read_link(path).with_context(|| format!("reading the link {}", path.display()))?;
            let mut header = header(&data, EntryType::Symlink);
            self.tar.append_link(&mut header, name, target).with_context(|| writing(path))
        } else if kind.is_socket() {
            Ok(()) // means nothing without who listens there
        } else {
            self.add_special(path, name, &data)
        }
    }

    fn add_directory(&mut self, path: &Path, name: &Path, data: &Metadata) -> Result<()> {
        let mut header = header(data, EntryType::Directory);
        self.tar.append_data(&mut header, name, std::io::empty()).with_context(|| writing(path))?;
        // The kernel's own files are no data, and one of them is as large as all memory can be.
        if statfs(path).is_ok_and(|data| KERNELS_OWN.contains(&data.filesystem_type())) {
            return Ok(());
        }
        for entry in fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
            let entry = entry.with_context(|| format!("listing {}", path.display()))?;
            self.add(&entry.path(), &name.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, name: &Path) -> Result<()> {
        // Looked at again once it is open. Not following a link, nor waiting for who writes to a FIFO, if it is one by now.
        let file = File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let data = file.metadata().with_context(|| format!("looking at {}", path.display()))?;
        if !data.is_file() {
            warn!("{} is no file any more, and left out", path.display());
            return Ok(());
        }
        if data.nlink() > 1 {
            let identity = (data.dev(), data.ino());
            if let Some(first) = self.names.get(&identity) {
                let mut header = header(&data, EntryType::Link);
                return self.tar.append_link(&mut header, name, first).with_context(|| writing(path));
            }
            self.names.insert(identity, name.to_path_buf());
        }
        self.add_capabilities(&file).with_context(|| writing(path))?;
        let mut header = header(&data, EntryType::Regular);
        header.set_size(data.len());
        // It has the length that was promised, also if somebody writes to it meanwhile.
        let content = file.chain(repeat(0)).take(data.len());
        self.tar.append_data(&mut header, name, content).with_context(|| writing(path))
    }

    /// They stand before the entry of the file that has them.
    fn add_capabilities(&mut self, file: &File) -> Result<()> {
        let value = match file.get_xattr(CAPABILITIES) {
            // A file system that knows no attributes.
            Err(error) if error.raw_os_error() == Some(Errno::ENOTSUP as i32) => None,
            value => value.with_context(|| format!("reading the attribute {CAPABILITIES}"))?,
        };
        let Some(value) = value else { return Ok(()) };
        let (key, value) = match self.reader {
            Reader::Any => (IN_TAR, value),
            Reader::Ours => {
                (IN_DIGITS, value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect())
            }
        };
        Ok(self.tar.append_pax_extensions([(key, &*value)])?)
    }

    fn add_special(&mut self, path: &Path, name: &Path, data: &Metadata) -> Result<()> {
        let mut header = special_header(data)?;
        self.tar.append_data(&mut header, name, std::io::empty()).with_context(|| writing(path))
    }
}

/// The header of a device or a FIFO.
pub fn special_header(data: &Metadata) -> Result<Header> {
    let kind = data.file_type();
    let entry = match (kind.is_fifo(), kind.is_block_device()) {
        (true, _) => EntryType::Fifo,
        (_, true) => EntryType::Block,
        _ => EntryType::Char,
    };
    let mut header = header(data, entry);
    header.set_device_major(major(data.rdev()) as u32)?;
    header.set_device_minor(minor(data.rdev()) as u32)?;
    Ok(header)
}

/// The header of something that has no data, or whose length is yet to be set.
pub fn header(data: &Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(data.mode() & 0o7777);
    header.set_uid(data.uid().into());
    header.set_gid(data.gid().into());
    header.set_mtime(data.mtime().try_into().unwrap_or(0)); // tar knows no time before 1970
    header.set_size(0);
    header
}

fn writing(path: &Path) -> String {
    format!("packing {}", path.display())
}
