//! A log read as one, from its older file into the newer, and on into those that come: read(2), rename(2).

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::warn;

use crate::log_line::{LONGEST_TEXT, Piece};

/// How much is read at once, in bytes.
const CHUNK: u64 = 64 << 10;

/// How long a line of the file can be, in bytes: the text, and what stands before it.
const LONGEST_LINE: usize = LONGEST_TEXT + 64;

/// How many files are read at once. What is open takes room on the disk, removed or not, so it must not become more and
/// more while nobody takes what we print.
const MOST_FILES: usize = 8;

/// Reads a log from its beginning, or from where it is put.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    /// Whether to go on into files that come later.
    follows: bool,
    /// The oldest, which is read now, and those after it.
    pub(crate) files: VecDeque<File>,
    /// What has been read of a line whose end has not.
    rest: Vec<u8>,
}

impl Reader {
    /// Opens the log in a container's directory, if there is one yet.
    pub fn open(directory: &Path, follows: bool) -> Result<Reader> {
        let files = both(directory)?.into();
        Ok(Reader { directory: directory.to_path_buf(), follows, files, rest: Vec::new() })
    }

    /// Reads a part of what is there, and gives the pieces away. Returns whether there was something.
    pub fn read(&mut self, mut take: impl FnMut(&Piece<'_>) -> Result<()>) -> Result<bool> {
        // First: when there is another, the one before it has got its last line.
        if self.follows {
            self.look_for_another()?;
        }
        let Some(file) = self.files.front() else { return Ok(false) };
        let read = file.take(CHUNK).read_to_end(&mut self.rest);
        if read.with_context(|| self.reading())? == 0 {
            return Ok(self.go_on());
        }
        let ended = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for piece in self.rest[..ended].split(|byte| *byte == b'\n').filter_map(Piece::parse) {
            take(&piece)?;
        }
        self.rest.drain(..ended);
        if self.rest.len() > LONGEST_LINE {
            self.rest.clear(); // none of ours
        }
        Ok(true)
    }

    /// Goes on to the next file. Returns whether there is one.
    fn go_on(&mut self) -> bool {
        let is_there = self.files.len() > 1;
        if is_there {
            self.files.pop_front();
            self.rest.clear();
        }
        is_there
    }

    /// Opens the files that are newer than those that we have.
    fn look_for_another(&mut self) -> Result<()> {
        let Some(newest) = self.files.back() else {
            self.files = both(&self.directory)?.into();
            return Ok(());
        };
        // As long as we have it open, no other file gets its number.
        let newest = identity(&newest.metadata().with_context(|| self.reading())?);
        let now = fs::metadata(self.directory.join("log")).ok().map(|data| identity(&data));
        if self.files.len() == MOST_FILES || now == Some(newest) {
            return Ok(());
        }
        let both = both(&self.directory)?;
        let known = both.iter().position(|file| file.metadata().is_ok_and(|data| identity(&data) == newest));
        if known.is_none() && !both.is_empty() {
            warn!("the container prints faster than its log is read: lines may be missing here");
        }
        self.files.extend(both.into_iter().skip(known.map_or(0, |at| at + 1)));
        Ok(())
    }

    fn reading(&self) -> String {
        format!("reading the log in {}", self.directory.display())
    }
}

/// Both files, the older first, or those that are there.
fn both(directory: &Path) -> Result<Vec<File>> {
    loop {
        let older = open(&directory.join("log.1"))?;
        let newer = open(&directory.join("log"))?;
        // If one has become the other meanwhile, we may have it twice, or have missed one in between.
        let again = open(&directory.join("log.1"))?;
        let seen = |file: &Option<File>| {
            file.as_ref().and_then(|file| file.metadata().ok()).map(|data| identity(&data))
        };
        if seen(&older) == seen(&again) {
            return Ok(older.into_iter().chain(newer).collect());
        }
    }
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        open => open.map(Some).with_context(|| format!("opening {}", path.display())),
    }
}

/// What makes a file this one and no other, whatever its name is.
fn identity(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::LONGEST_FILE;
    use crate::log_line::Stream;
    use crate::log_writer::Log;
    use proptest::prelude::*;

    type Printed = [Vec<u8>; 2];

    /// Reads what is there.
    fn read_on(reader: &mut Reader, printed: &mut Printed) {
        let mut take = |piece: &Piece<'_>| {
            printed[piece.stream as usize].extend_from_slice(piece.text);
            printed[piece.stream as usize].extend_from_slice(if piece.ends { b"\n" } else { b"" });
            Ok(())
        };
        while reader.read(&mut take).unwrap() {}
    }

    fn read_all(directory: &Path) -> Printed {
        let mut printed = Printed::default();
        read_on(&mut Reader::open(directory, false).unwrap(), &mut printed);
        printed
    }

    #[test]
    fn no_log_is_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_all(directory.path()), Printed::default());
        let mut reader = Reader::open(directory.path(), true).unwrap();
        let mut printed = Printed::default();
        read_on(&mut reader, &mut printed);
        Log::open(directory.path()).unwrap().append(Stream::Stdout, b"here\n").unwrap();
        read_on(&mut reader, &mut printed);
        assert_eq!(printed[0], b"here\n");
    }

    #[test]
    fn garbage_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let time = "2025-11-29T02:15:43.012345678Z";
        let line = |text: &str| format!("{time} stdout F {text}\n").into_bytes();
        let zeros = vec![0; 200_000];
        let torn = format!("{time} std").into_bytes();
        let older =
            [line("one"), b"\n\n\xff\n".to_vec(), zeros.clone(), b"\n".to_vec(), line("two"), torn.clone()];
        fs::write(directory.path().join("log.1"), older.concat()).unwrap();
        fs::write(
            directory.path().join("log"),
            [line("three"), zeros, line("no"), line("four"), torn].concat(),
        )
        .unwrap();
        assert_eq!(read_all(directory.path())[0], b"one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn who_follows_loses_and_repeats_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        let mut reader = Reader::open(directory.path(), true).unwrap();
        let (mut read, mut sent) = (Printed::default(), Printed::default());
        for number in 0..1_000_000 {
            let bytes = format!("{number}\n");
            log.append(Stream::Stdout, bytes.as_bytes()).unwrap();
            sent[0].extend_from_slice(bytes.as_bytes());
            // Often, and then so seldom that the file has become the older one, and all but full again.
            if number % 99 == 0 && number < 300_000 || number % 350_000 == 0 {
                read_on(&mut reader, &mut read);
            }
        }
        read_on(&mut reader, &mut read);
        assert!(sent == read, "{} bytes became {}", sent[0].len(), read[0].len());
    }

    #[test]
    fn who_does_not_follow_comes_to_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        let mut reader = Reader::open(directory.path(), false).unwrap();
        let mut total = 0;
        let bytes = [vec![b'x'; 999], vec![b'\n']].concat().repeat(100);
        while reader.read(|_| Ok(())).unwrap() || total == 0 {
            log.append(Stream::Stdout, &bytes).unwrap();
            total += bytes.len() as u64;
            assert!(total < 2 * LONGEST_FILE);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_printed_is_read_byte_for_byte(
            parts in prop::collection::vec((any::<bool>(), "[a\n]{0,9}|\\PC{0,40}\n?", 0..3_usize), 0..20),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut sent = Printed::default();
            let mut log = Log::open(directory.path()).unwrap();
            for (is_stderr, text, size) in &parts {
                let bytes = text.as_bytes().repeat([1, 300, 2000][*size]);
                log.append(if *is_stderr { Stream::Stderr } else { Stream::Stdout }, &bytes).unwrap();
                sent[usize::from(*is_stderr)].extend(bytes);
            }
            log.finish().unwrap();
            prop_assert!(read_all(directory.path()) == sent);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), lines in 0..5_usize) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("log"), &bytes).unwrap();
            fs::write(directory.path().join("log.1"), bytes.repeat(100)).unwrap();
            let mut reader = Reader::open(directory.path(), false).unwrap();
            reader.go_to_last(lines).unwrap();
            read_on(&mut reader, &mut Printed::default());
        }
    }
}
