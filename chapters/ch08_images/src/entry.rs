//! What a tar stream says of a file: in its header, and in extensions before that. tar(5), and pax(1) of POSIX.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::makedev;
use nix::sys::time::TimeSpec;
use tar::{EntryType, GnuSparseHeader, Header};

/// The most parts that a file with holes may have.
const MOST_PARTS: usize = 1 << 16;
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What a tar stream says of a file.
#[derive(Debug)]
pub struct Entry {
    /// Its name, as it stands there.
    pub name: PathBuf,
    /// Where a link leads to, or what it is another name of.
    pub link: PathBuf,
    /// What it is.
    pub kind: EntryType,
    /// Permissions, with those for set-user-ID and the like.
    pub mode: u32,
    /// Its owner. Names of users are not looked at: they are another system's.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// When it was changed.
    pub time: TimeSpec,
    /// A device's number.
    pub device: u64,
    /// Extended attributes.
    pub attributes: Vec<(OsString, Vec<u8>)>,
    /// How long the file is, in bytes, holes included.
    pub(crate) length: u64,
    /// Where there is data in it: offset and length, in the stream's order.
    pub(crate) parts: Vec<(u64, u64)>,
}

impl Entry {
    /// What the header itself says.
    pub(crate) fn of(header: &Header) -> Result<Entry> {
        let name = PathBuf::from(OsString::from_vec(header.path_bytes().into_owned()));
        let context = || format!("the header of {name:?}");
        let number = |number: io::Result<Option<u32>>| Ok::<u64, io::Error>(number?.unwrap_or(0).into());
        let (major, minor) = (header.device_major(), header.device_minor());
        Ok(Entry {
            link: OsString::from_vec(header.link_name_bytes().unwrap_or_default().into_owned()).into(),
            kind: header.entry_type(),
            mode: header.mode().with_context(context)? & 0o7777,
            user: header.uid()?.try_into().with_context(context)?,
            group: header.gid()?.try_into().with_context(context)?,
            // Before 1970 it is less than 0.
            time: TimeSpec::new(header.mtime().with_context(context)? as i64, 0),
            device: match header.entry_type() {
                EntryType::Char | EntryType::Block => makedev(number(major)?, number(minor)?),
                _ => 0, // whatever stands there
            },
            attributes: Vec::new(),
            length: header.entry_size().with_context(context)?,
            parts: Vec::new(),
            name,
        })
    }

    /// What a record of an extension says instead, or more.
    pub(crate) fn extend(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let text = || str::from_utf8(value).context("it is no text");
        match key {
            _ if key.starts_with(ATTRIBUTE) => {
                let name = OsStr::from_bytes(&key[ATTRIBUTE.len()..]).to_os_string();
                self.attributes.push((name, value.to_vec()));
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                bail!("holes are only known as GNU tar's own format has them")
            }
            _ if value.is_empty() => {} // the header's is meant
            b"path" => self.name = Path::new(OsStr::from_bytes(value)).to_path_buf(),
            b"linkpath" => self.link = Path::new(OsStr::from_bytes(value)).to_path_buf(),
            b"size" => self.length = text()?.parse()?,
            b"uid" => self.user = text()?.parse()?,
            b"gid" => self.group = text()?.parse()?,
            b"mtime" => self.time = time(text()?).context("it is no time")?,
            _ => {} // names of users, other times, comments
        }
        Ok(())
    }

    pub(crate) fn add_parts(&mut self, parts: &[GnuSparseHeader]) -> Result<()> {
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.parts.push((part.offset()?, part.length()?));
        }
        ensure!(self.parts.len() <= MOST_PARTS, "{:?} has too many holes", self.name);
        Ok(())
    }
}

/// The records of an extension: `LENGTH KEY=VALUE\n`, where the length is that of all of it.
pub(crate) fn records(mut said: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !said.is_empty() {
        let (record, rest) = first_record(said).context("an extension is damaged")?;
        records.push(record);
        said = rest;
    }
    Ok(records)
}

#[allow(clippy::type_complexity)]
fn first_record(said: &[u8]) -> Option<((&[u8], &[u8]), &[u8])> {
    let space = said.iter().position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&said[..space]).ok()?.parse().ok()?;
    let record = said.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some(((&record[..equals], &record[equals + 1..]), &said[length..]))
}

/// Seconds since 1970, with a fraction or without.
fn time(text: &str) -> Option<TimeSpec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let (seconds, nanoseconds): (i64, i64) = (seconds.parse().ok()?, nanoseconds.into());
    // Before 1970 the fraction counts backwards, and for the kernel it never does.
    let is_before = text.starts_with('-') && nanoseconds > 0;
    Some(match is_before {
        true => TimeSpec::new(seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds),
        false => TimeSpec::new(seconds, nanoseconds),
    })
}
