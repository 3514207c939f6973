//! What a tar stream has, one entry after the other: tar(5).
//!
//! The tar crate knows headers, and has a loop like this one. That takes extensions of any length into memory, and cuts them
//! at each newline, though an attribute's value may have some (its issues 428 and 452). A stranger's layer can use both.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write, sink};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use tar::{EntryType, GnuExtSparseHeader, Header};

use crate::entry::{Entry, records};

/// The longest extension that we read into memory, in bytes. The kernel's attributes have 64 KiB at most, together.
const LONGEST_EXTENSION: u64 = 1 << 20;
const BLOCK: u64 = 512;
/// Where numbers stand in a header: mode, owner, group, size, time, and both parts of a device's.
const NUMBERS: [Range<usize>; 7] = [100..108, 108..116, 116..124, 124..136, 136..148, 329..337, 337..345];

/// The entries of a tar stream.
#[derive(Debug)]
pub struct Entries<R> {
    tar: R,
    /// Bytes up to the next header.
    left: u64,
}

/// What stands before an entry because its header has no room for it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Vec<u8>>,
}

impl<R: Read> Entries<R> {
    /// The entries of a stream that is not compressed.
    pub fn new(tar: R) -> Entries<R> {
        Entries { tar, left: 0 }
    }

    /// The next one. What has not been read of the one before is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut said = Extensions::default();
        while let Some(header) = self.header()? {
            let place = match header.entry_type() {
                EntryType::GNULongName => &mut said.name,
                EntryType::GNULongLink => &mut said.link,
                EntryType::XHeader => &mut said.records,
                EntryType::XGlobalHeader => continue, // a comment, such as git's: tar knows no other use
                _ => return self.entry(&header, said).map(Some),
            };
            // Two of a kind would mean one thing to us, and something else to another program.
            ensure!(place.is_none(), "the tar stream extends an entry twice in the same way");
            *place = Some(self.extension(&header)?);
        }
        let is_complete = said.name.or(said.link).or(said.records).is_none();
        ensure!(is_complete, "the tar stream ends with an extension of no entry");
        Ok(None)
    }

    /// Reads to the end of the stream, which comes after the last entry: it's part of what has a digest, too.
    pub fn finish(mut self) -> Result<()> {
        io::copy(&mut self.tar, &mut sink()).context("reading the end of the tar stream")?;
        Ok(())
    }

    /// Copies what an entry has in it, which must be the one that came last, to a new file. Holes stay holes.
    pub fn copy(&mut self, entry: &Entry, file: &mut File) -> Result<()> {
        for (offset, length) in &entry.parts {
            file.seek(SeekFrom::Start(*offset)).context("going to the end of a hole")?;
            let copied = io::copy(&mut self.tar.by_ref().take(*length), file).context("copying its data")?;
            self.left -= copied;
            ensure!(copied == *length, "the tar stream ends in the middle of it");
        }
        file.set_len(entry.length).context("setting its length")
    }

    /// Passes on what an entry has in it, which must be the one that came last, and a file without holes.
    pub fn pour(&mut self, entry: &Entry, to: &mut impl Write) -> Result<()> {
        let length: u64 = entry.parts.iter().map(|(_, length)| length).sum();
        ensure!(length == entry.length, "it has holes");
        let poured = io::copy(&mut self.tar.by_ref().take(length), to).context("copying its data")?;
        self.left -= poured;
        ensure!(poured == length, "the tar stream ends in the middle of it");
        Ok(())
    }

    /// The next header, if there is one.
    fn header(&mut self) -> Result<Option<Header>> {
        let skipped = io::copy(&mut self.tar.by_ref().take(self.left), &mut sink());
        ensure!(
            skipped.context("reading the tar stream")? == self.left,
            "the tar stream ends in the middle of an entry"
        );
        self.left = 0;
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
        let expected = header.cksum().ok();
        ensure!(expected == Some(sum + 8 * u32::from(b' ')), "it is no tar stream, or damaged (checksum)");
        // Some programs leave a number that is 0 or means nothing out.
        for number in NUMBERS {
            let field = &mut header.as_mut_bytes()[number];
            if field.iter().all(|byte| [0, b' '].contains(byte)) {
                field.fill(b'0');
            }
        }
        self.left = header.entry_size()?.checked_next_multiple_of(BLOCK).context("an impossible size")?;
        Ok(Some(header))
    }

    /// Reads a block. False if there is none.
    fn block(&mut self, block: &mut [u8]) -> Result<bool> {
        let mut read = 0;
        while read < block.len() {
            match self.tar.read(&mut block[read..]) {
                Ok(0) if read == 0 => return Ok(false),
                Ok(0) => bail!("the tar stream ends in the middle of a block"),
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading the tar stream"),
            }
        }
        Ok(true)
    }

    /// Reads what extends the next entry.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.entry_size()?;
        ensure!(size <= LONGEST_EXTENSION, "an extension of {size} bytes is too long");
        let mut said = vec![0; size as usize];
        self.tar.read_exact(&mut said).context("reading an extension")?;
        self.left -= size;
        Ok(said)
    }

    fn entry(&mut self, header: &Header, said: Extensions) -> Result<Entry> {
        let mut entry = Entry::of(header)?;
        for (key, value) in records(&said.records.unwrap_or_default())? {
            entry.extend(key, value).with_context(|| {
                format!("the extension {:?} of {:?}", String::from_utf8_lossy(key), entry.name)
            })?;
        }
        // GNU's way for long names. There's a NUL byte at the end.
        let path = |name: Vec<u8>| {
            PathBuf::from(OsStr::from_bytes(name.split(|byte| *byte == 0).next().unwrap_or(&[])))
        };
        entry.name = said.name.map_or(entry.name, path);
        entry.link = said.link.map_or(entry.link, path);
        // The first tar had no kind for directories.
        if entry.kind == EntryType::Regular && entry.name.as_os_str().as_bytes().ends_with(b"/") {
            entry.kind = EntryType::Directory;
        }
        let has_data =
            matches!(entry.kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        // Others have none, whatever their header says.
        let size = if has_data { entry.length } else { 0 };
        self.left = size.checked_next_multiple_of(BLOCK).context("an impossible size")?;
        entry.parts = vec![(0, size)];
        if entry.kind == EntryType::GNUSparse {
            self.read_parts(header, &mut entry)?;
        }
        Ok(entry)
    }

    /// GNU's way for files with holes: where there's data is told in the header, and in more blocks after it.
    fn read_parts(&mut self, header: &Header, entry: &mut Entry) -> Result<()> {
        let gnu = header.as_gnu().context("a file with holes, but no header of GNU tar")?;
        let size = entry.length;
        entry.length = gnu.real_size()?;
        entry.parts.clear();
        entry.add_parts(&gnu.sparse)?;
        let mut has_more = gnu.is_extended();
        while has_more {
            let mut more = GnuExtSparseHeader::new();
            ensure!(self.block(more.as_mut_bytes())?, "the tar stream ends in the middle of an entry");
            entry.add_parts(more.sparse())?;
            has_more = more.is_extended();
        }
        let mut ends = entry.parts.iter().map(|(offset, length)| offset.checked_add(*length));
        let fits = ends.all(|end| end.is_some_and(|end| end <= entry.length));
        let sum = entry.parts.iter().try_fold(0u64, |sum, (_, length)| sum.checked_add(*length));
        ensure!(fits && sum == Some(size), "{:?} has impossible holes", entry.name);
        Ok(())
    }
}
