//! Files on their way in, from a tar stream: tar(5), fsetxattr(2), and what cp(1) does with a target that is there.

use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use log::debug;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use tar::{Archive, Entry, EntryType};
use xattr::FileExt;

use crate::pack::{CAPABILITIES, IN_DIGITS, IN_TAR};

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// Who owned it where it was packed.
    Same,
    /// This user and group.
    New(u32, u32),
}

/// Where something goes, in Docker's words: into a directory that is there, or under a new name.
#[derive(Debug, Clone)]
pub struct Target {
    /// The path as it was written, absolute.
    pub path: PathBuf,
    /// Whether it was written with a slash at its end: then it must be a directory.
    pub must_be_directory: bool,
    /// Whether of a directory only what is in it is wanted: `SRC/.`.
    pub contents: bool,
}

/// Unpacks a stream whose first entry is what is copied, and whose others are in it.
pub fn unpack_copy(stream: impl Read, target: &Target, owner: Owner) -> Result<()> {
    let mut archive = Archive::new(stream);
    let mut entries = archive.entries().context("reading the tar stream")?;
    // Who packs has said why, if nothing comes.
    let Some(first) = entries.next() else { std::process::exit(1) };
    let mut first = first.context("reading the tar stream")?;
    let top = first.path().context("reading the tar stream")?.into_owned();
    let place = target.place(&top, first.header().entry_type().is_dir())?;
    let mut unpacking = Unpacking { owner, directories: Vec::new() };
    unpacking.put(&mut first, &place, &|link| link.to_path_buf())?;
    for entry in entries {
        let mut entry = entry.context("reading the tar stream")?;
        let name = entry.path().context("reading the tar stream")?.into_owned();
        let moved = |name: &Path| place.join(name.strip_prefix(&top).unwrap_or(name));
        unpacking.put(&mut entry, &moved(&name), &moved)?;
    }
    unpacking.finish()
}

/// Unpacks a stream of somebody else's into a directory that is there.
pub fn unpack_stream(stream: impl Read, directory: &Path) -> Result<()> {
    ensure!(directory.is_dir(), "{} is no directory", directory.display());
    let mut archive = Archive::new(stream);
    let mut unpacking = Unpacking { owner: Owner::Same, directories: Vec::new() };
    for entry in archive.entries().context("reading the tar stream")? {
        let mut entry = entry.context("reading the tar stream")?;
        let name = entry.path().context("reading the tar stream")?.into_owned();
        unpacking
            .put(&mut entry, &below(directory, &name)?, &|link| below(directory, link).unwrap_or_default())?;
    }
    unpacking.finish()
}

/// A name of the stream as a path below a directory. What leads up from there is an error, as in chapter 3.
fn below(directory: &Path, name: &Path) -> Result<PathBuf> {
    let leads_up = name.components().any(|part| part == Component::ParentDir);
    ensure!(!leads_up, "the entry {name:?} leads out of the directory");
    Ok(directory.join(name.strip_prefix("/").unwrap_or(name)))
}

impl Target {
    /// The path that a file or directory of the name `top` gets.
    fn place(&self, top: &Path, is_directory: bool) -> Result<PathBuf> {
        let (path, shown) = (&self.path, self.path.display());
        match fs::metadata(path) {
            Ok(data) if data.is_dir() && is_directory && self.contents => Ok(path.clone()),
            Ok(data) if data.is_dir() => Ok(path.join(top)),
            Ok(_) if is_directory => bail!("cannot copy a directory to {shown}, which is a file"),
            Ok(_) if self.must_be_directory => bail!("{shown} is no directory"),
            // Where its links lead to: not the link is replaced, but the file.
            Ok(_) => path.canonicalize().with_context(|| format!("looking for {shown}")),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("looking at {shown}"))
            }
            Err(_) if self.must_be_directory && !is_directory => bail!("there is no directory {shown}"),
            Err(_) => Ok(path.clone()),
        }
    }
}

/// Where what the stream calls by a name is now.
type Moved<'a> = &'a dyn Fn(&Path) -> PathBuf;

struct Unpacking {
    owner: Owner,
    /// Directories get their times last: each file that is made in them changes those.
    directories: Vec<(PathBuf, u64)>,
}

impl Unpacking {
    /// Puts an entry at `path`.
    fn put<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path, moved: Moved<'_>) -> Result<()> {
        debug!("unpacking {path:?}");
        self.try_put(entry, path, moved).with_context(|| format!("unpacking {}", path.display()))
    }

    fn try_put<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path, moved: Moved<'_>) -> Result<()> {
        let kind = entry.header().entry_type();
        let link = entry.link_name()?.map(|link| link.into_owned());
        let (mode, seconds) = (entry.header().mode()? & 0o7777, entry.header().mtime()?);
        let capabilities = capabilities(entry)?;
        let (user, group) = match self.owner {
            Owner::Same => (entry.header().uid()? as u32, entry.header().gid()? as u32),
            Owner::New(user, group) => (user, group),
        };
        match kind {
            EntryType::Directory => make_directory(path)?,
            EntryType::Link => {
                make_room(path)?;
                return Ok(fs::hard_link(moved(&link.context("a link to nothing")?), path)?);
            }
            EntryType::Symlink => {
                make_room(path)?;
                symlink(link.context("a link to nothing")?, path)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                make_room(path)?;
                make_special(entry, kind, path)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                make_room(path)?;
                // Nobody else opens it before it has its owner and its mode.
                let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
                io::copy(entry, &mut file)?;
                lchown(path, Some(user), Some(group))?;
                file.set_permissions(Permissions::from_mode(mode))?; // after chown(2), which takes set-user-ID away
                if let Some(value) = capabilities {
                    file.set_xattr(CAPABILITIES, &value)
                        .with_context(|| format!("setting the attribute {CAPABILITIES}"))?;
                }
                return Ok(file.set_times(FileTimes::new().set_modified(time(seconds)))?);
            }
            other => {
                debug!("left out: {other:?}");
                return Ok(());
            }
        }
        lchown(path, Some(user), Some(group))?;
        if kind == EntryType::Directory {
            self.directories.push((path.to_path_buf(), seconds));
        }
        if kind == EntryType::Symlink {
            return set_time(path, seconds);
        }
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        set_time(path, seconds)
    }

    fn finish(self) -> Result<()> {
        self.directories.iter().rev().try_for_each(|(path, seconds)| set_time(path, *seconds))
    }
}

/// What stands before an entry of its file's capabilities. Of a stream of somebody else's, records with a newline in their
/// values can't be read, and are passed over.
fn capabilities<R: Read>(entry: &mut Entry<'_, R>) -> Result<Option<Vec<u8>>> {
    let Some(records) = entry.pax_extensions()? else { return Ok(None) };
    for record in records.flatten() {
        match record.key() {
            Ok(IN_TAR) => return Ok(Some(record.value_bytes().to_vec())),
            Ok(IN_DIGITS) => return bytes_of(record.value()?).map(Some),
            _ => {}
        }
    }
    Ok(None)
}

fn bytes_of(digits: &str) -> Result<Vec<u8>> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..digits.len()).step_by(2).map(|at| byte(at).context("an attribute is no hexadecimal number")).collect()
}

/// A directory that is there stays, with what is in it.
fn make_directory(path: &Path) -> Result<()> {
    match DirBuilder::new().create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            ensure!(path.symlink_metadata()?.is_dir(), "it is a directory, and what is there is not");
            Ok(())
        }
        made => Ok(made?),
    }
}

/// Takes away what has the name. A directory stays, and that is an error.
fn make_room(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => Ok(removed?),
    }
}

fn make_special<R: Read>(entry: &Entry<'_, R>, kind: EntryType, path: &Path) -> Result<()> {
    let number = |number: Result<Option<u32>, io::Error>| number.map(|number| u64::from(number.unwrap_or(0)));
    let device = || -> Result<u64> {
        Ok(makedev(number(entry.header().device_major())?, number(entry.header().device_minor())?))
    };
    let (kind, device) = match kind {
        EntryType::Char => (SFlag::S_IFCHR, device()?),
        EntryType::Block => (SFlag::S_IFBLK, device()?),
        _ => (SFlag::S_IFIFO, 0),
    };
    Ok(mknod(path, kind, Mode::from_bits_truncate(0o600), device)?)
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// Of a link: its own time, not that of what it leads to.
fn set_time(path: &Path, seconds: u64) -> Result<()> {
    let time = TimeSpec::from_duration(Duration::from_secs(seconds));
    Ok(utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}
