//! The files that an image comes in: a directory, or a tar stream that is read once, whatever the order in it. tar(5).
//!
//! Of a stream, each file becomes a blob that is put aside: it has to be read before it's known what it is good for. The
//! names in it are only looked up in a table, so none of them leads anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::libc::O_NONBLOCK;
use serde::de::DeserializeOwned;
use tar::EntryType;

use crate::decompress::{decompressed, largest_image};
use crate::digest::Digest;
use crate::entries::Entries;
use crate::formats::BIGGEST;
use crate::store::{Parked, Store};

/// An archive may have so many entries, and names so long in bytes: they are kept in memory. 500 layers of old Docker are
/// 2000 entries.
const MOST_ENTRIES: usize = 20_000;
const LONGEST_NAME: usize = 512;

/// Files with names, from outside.
#[derive(Debug)]
pub enum Files {
    /// Of a directory.
    Directory(PathBuf),
    /// Of an archive that has been read.
    Archive(BTreeMap<PathBuf, Held>),
}

/// What an archive has below a name.
#[derive(Debug)]
pub enum Held {
    /// A file.
    File(Parked),
    /// Another name of it, in the same archive.
    Link(PathBuf),
}

impl Files {
    /// Reads a tar stream, which gzip or zstd may have made smaller, to its end.
    pub fn of_tar(store: &Store, stream: impl Read + 'static) -> Result<Files> {
        let mut entries = Entries::new(decompressed(stream, largest_image()?)?);
        let mut held = BTreeMap::new();
        while let Some(entry) = entries.next_entry()? {
            ensure!(held.len() < MOST_ENTRIES, "the archive has more than {MOST_ENTRIES} entries");
            let name = inside(Path::new(""), &entry.name)?;
            let file = match entry.kind {
                EntryType::Regular | EntryType::Continuous => {
                    let mut incoming = store.incoming()?;
                    entries.pour(&entry, &mut incoming).with_context(|| format!("reading {name:?}"))?;
                    Held::File(incoming.park()?)
                }
                // A symbolic link is seen from where it is, and a second name from the top.
                EntryType::Symlink => Held::Link(inside(name.parent().unwrap_or(&name), &entry.link)?),
                EntryType::Link => Held::Link(inside(Path::new(""), &entry.link)?),
                _ => continue,
            };
            held.insert(name, file);
        }
        entries.finish()?;
        Ok(Files::Archive(held))
    }

    /// A JSON document. `None` if there is no such file.
    pub fn document<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).with_context(|| format!("reading {name}")).map(Some)
    }

    /// All bytes of a document. `None` if there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let reading = || format!("reading {name}");
        let Some(file) = self.open(name).with_context(reading)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(BIGGEST + 1).read_to_end(&mut bytes).with_context(reading)?;
        ensure!(bytes.len() as u64 <= BIGGEST, "{name} is no document: it's longer than 4 MiB");
        Ok(Some(bytes))
    }

    /// Keeps a file as a blob, unless it's not what was `expected`. Returns its digest, and its length in bytes.
    pub fn keep(&self, store: &Store, name: &str, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let missing = || format!("{name} is missing");
        if let Files::Archive(held) = self {
            let file = find(held, Path::new(name))?.with_context(missing)?;
            let digest = file.digest;
            if let Some(expected) = expected {
                ensure!(digest == *expected, "{name} is {digest}, and should be {expected}");
            }
            return file.keep(store).map(|()| (digest, file.length));
        }
        let mut file = self.open(name)?.with_context(missing)?;
        let mut incoming = store.incoming()?;
        io::copy(&mut file, &mut incoming).with_context(|| format!("copying {name}"))?;
        incoming.keep(expected).with_context(|| name.to_string())
    }

    fn open(&self, name: &str) -> Result<Option<File>> {
        let path = match self {
            Files::Directory(directory) => directory.join(inside(Path::new(""), Path::new(name))?),
            Files::Archive(held) => match find(held, Path::new(name))? {
                Some(file) => file.path.clone(),
                None => return Ok(None),
            },
        };
        // Not to wait for one who writes to a pipe.
        match File::options().read(true).custom_flags(O_NONBLOCK).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => {
                let file = file?;
                ensure!(file.metadata()?.is_file(), "{} is no file", path.display());
                Ok(Some(file))
            }
        }
    }
}

/// The file that a name leads to, over links of the archive.
fn find<'a>(held: &'a BTreeMap<PathBuf, Held>, name: &Path) -> Result<Option<&'a Parked>> {
    let mut name = name;
    for _ in 0..8 {
        match held.get(name) {
            Some(Held::Link(other)) => name = other,
            Some(Held::File(file)) => return Ok(Some(file)),
            None => return Ok(None),
        }
    }
    bail!("{} is a link to a link to a link, and so on", name.display())
}

/// A path as seen from a directory of the archive, without `.` and `..`.
fn inside(directory: &Path, path: &Path) -> Result<PathBuf> {
    let mut clean = directory.to_path_buf();
    let is_inside = path.components().all(|part| match part {
        Component::Normal(name) => {
            clean.push(name);
            true
        }
        Component::CurDir => true,
        Component::ParentDir => clean.pop(),
        _ => false,
    });
    ensure!(is_inside, "the archive has a name that leads out of it: {path:?}");
    ensure!(clean.as_os_str().len() <= LONGEST_NAME, "the archive has a name that is too long");
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (name, kind, said) in entries {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes()); // whatever it is
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let is_file = *kind == EntryType::Regular;
            if !is_file {
                header.as_old_mut().linkname[..said.len()].copy_from_slice(said.as_bytes());
            }
            let bytes = if is_file { said.as_bytes() } else { b"" };
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn files(store: &Store, entries: &[(&str, EntryType, &str)]) -> Result<Files> {
        Files::of_tar(store, io::Cursor::new(tar(entries)))
    }

    fn count(store: &Store, directory: &str) -> usize {
        store.path(directory).read_dir().unwrap().count()
    }

    #[test]
    fn no_name_leads_out_of_a_directory() {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("secret"), "the host's").unwrap();
        let directory = host.path().join("layout");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("file"), "text").unwrap();
        let files = Files::Directory(directory);
        assert_eq!(files.read("./file").unwrap().as_deref(), Some(&b"text"[..]));
        for name in ["../secret", host.path().join("secret").to_str().unwrap(), "a/../../secret"] {
            assert!(files.read(name).unwrap_err().to_string().contains("reading"), "{name}");
        }
    }

    #[test]
    fn names_are_looked_up_and_lead_nowhere() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let files = files(
            &store,
            &[
                ("a/link", EntryType::Symlink, "../b/file"),
                ("./b/file", EntryType::Regular, "text"),
                ("c", EntryType::Link, "a/link"),
                ("ring", EntryType::Symlink, "ring"),
                ("twice", EntryType::Regular, "old"),
                ("twice", EntryType::Regular, "new"),
                ("pipe", EntryType::Fifo, ""),
            ],
        )
        .unwrap();
        for name in ["a/link", "b/file", "c"] {
            assert_eq!(files.read(name).unwrap().unwrap(), b"text", "{name}");
        }
        assert_eq!(files.read("twice").unwrap().unwrap(), b"new");
        assert!(files.read("pipe").unwrap().is_none() && files.read("/etc/passwd").unwrap().is_none());
        assert!(files.read("ring").is_err());
        let text = Digest::of(b"text");
        assert!(files.keep(&store, "c", Some(&Digest::of(b"other"))).is_err());
        assert_eq!(files.keep(&store, "c", Some(&text)).unwrap(), (text, 4));
        assert_eq!(files.keep(&store, "a/link", None).unwrap(), (text, 4));
        drop(files);
        assert_eq!((count(&store, "incoming"), count(&store, "blobs/sha256")), (0, 1));
    }

    #[test]
    fn what_leads_out_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        for bad in [
            ("../x", EntryType::Regular, ""),
            ("a/../../x", EntryType::Regular, ""),
            ("/etc/x", EntryType::Regular, ""),
            ("x", EntryType::Symlink, "/etc/passwd"),
            ("a/x", EntryType::Symlink, "../../x"),
            ("x", EntryType::Link, "../x"),
        ] {
            let error = files(&store, &[bad]).unwrap_err().to_string();
            assert!(error.contains("leads out"), "{bad:?}: {error}");
        }
        assert_eq!(count(&store, "incoming"), 0);
    }

    #[test]
    fn of_a_directory_only_files() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let here = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&here.path().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::fs::write(here.path().join("file"), "text").unwrap();
        let files = Files::Directory(here.path().to_path_buf());
        assert!(files.read("pipe").is_err() && files.read("").is_err());
        assert!(files.read("nothing").unwrap().is_none());
        assert_eq!(files.keep(&store, "file", None).unwrap(), (Digest::of(b"text"), 4));
    }
}
