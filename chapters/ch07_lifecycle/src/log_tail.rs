//! The last lines of a log, found from its end: pread(2).

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use crate::log_line::Piece;
use crate::log_reader::Reader;

/// How much of a file's end is looked at first, in bytes.
const FIRST_LOOK: u64 = 64 << 10;

impl Reader {
    /// Goes to where the last `lines` lines begin, before anything has been read. The end of a file is read first, and
    /// more of it only as long as that is too little.
    pub fn go_to_last(&mut self, lines: usize) -> Result<()> {
        let mut search = Search { wanted: lines, at_end: true };
        for number in (0..self.files.len()).rev() {
            if let Some(start) =
                search.look_into(&self.files[number]).context("looking for the log's last lines")?
            {
                self.files[number].seek(SeekFrom::Start(start)).context("going to the log's last lines")?;
                self.files.drain(..number);
                break;
            }
        }
        Ok(())
    }
}

struct Search {
    /// How many lines are still to be found.
    wanted: usize,
    /// Whether nothing has been seen yet. What is printed last is a line even if it has not ended.
    at_end: bool,
}

impl Search {
    /// Returns where the lines begin that are wanted, if they don't begin in an older file.
    fn look_into(&mut self, file: &File) -> Result<Option<u64>> {
        let length = file.metadata()?.len();
        let mut look = FIRST_LOOK.min(length);
        loop {
            let start = length - look;
            let mut bytes = vec![0; look as usize];
            file.read_exact_at(&mut bytes, start)?;
            // The first line that is whole.
            let first = if start == 0 { 0 } else { line_after(&bytes) };
            let (wanted, at_end) = (self.wanted, self.at_end);
            if let Some(found) = self.look_at(&bytes[first..]) {
                return Ok(Some(start + (first + found) as u64));
            }
            if start == 0 {
                return Ok(None);
            }
            // Once more, and from the end: that is simpler than to go on in the middle of a line, and not much more.
            (self.wanted, self.at_end) = (wanted, at_end);
            look = (4 * look).min(length);
        }
    }

    /// The same in bytes that begin with a line.
    fn look_at(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        while end > 0 {
            let start = bytes[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let piece = Piece::parse(&bytes[start..end - 1]);
            if piece.is_some_and(|piece| piece.ends || self.at_end) {
                self.at_end = false;
                self.wanted = match self.wanted.checked_sub(1) {
                    None => return Some(end), // of the line before those that are wanted
                    Some(wanted) => wanted,
                };
            }
            end = start;
        }
        None
    }
}

/// Where the line begins that comes after the first newline.
fn line_after(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_line::Stream;
    use crate::log_writer::Log;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    fn last(directory: &Path, lines: usize) -> String {
        let mut reader = Reader::open(directory, false).unwrap();
        reader.go_to_last(lines).unwrap();
        let mut read = Vec::new();
        let mut take = |piece: &Piece<'_>| {
            read.extend_from_slice(piece.text);
            read.extend_from_slice(if piece.ends { b"\n" } else { b"" });
            Ok(())
        };
        while reader.read(&mut take).unwrap() {}
        String::from_utf8(read).unwrap()
    }

    /// What tail(1) would say.
    fn expected(all: &str, lines: usize) -> String {
        let all: Vec<_> = all.split_inclusive('\n').collect();
        all[all.len().saturating_sub(lines)..].concat()
    }

    #[test]
    fn over_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        let mut all = String::new();
        for number in 0..300_000 {
            let line = format!("{number}\n");
            all += &line;
        }
        all.as_bytes().chunks(5000).for_each(|part| log.append(Stream::Stdout, part).unwrap());
        let newer = fs::read(directory.path().join("log")).unwrap().split(|byte| *byte == b'\n').count() - 1;
        for lines in [0, 1, 1000, 20_000, newer - 1, newer, newer + 1, newer + 5000, 300_000, usize::MAX] {
            assert!(last(directory.path(), lines) == expected(&all, lines), "{lines} of {newer} and more");
        }
    }

    #[test]
    fn a_long_line_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        let all = format!("one\n{}\n{}", "x".repeat(300_000), "y".repeat(100_000));
        log.append(Stream::Stdout, all.as_bytes()).unwrap();
        log.finish().unwrap();
        for lines in 0..5 {
            assert!(last(directory.path(), lines) == expected(&all, lines), "{lines}");
        }
    }

    #[test]
    fn half_a_line_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let time = "2025-11-29T02:15:43.012345678Z";
        let text = format!("{time} stdout F one\ngarbage\n{time} stdout F two\n{time} std");
        fs::write(directory.path().join("log"), text).unwrap();
        assert_eq!(last(directory.path(), 1), "two\n");
        assert_eq!(last(directory.path(), 2), "one\ntwo\n");
        assert_eq!(last(directory.path(), 0), "");
    }

    proptest! {
        #[test]
        fn as_tail_has_it(all in "([a-z]{0,20}\n){0,50}[a-z]{0,3}", lines in 0..60_usize) {
            let directory = tempfile::tempdir().unwrap();
            let mut log = Log::open(directory.path()).unwrap();
            log.append(Stream::Stdout, all.as_bytes()).unwrap();
            log.finish().unwrap();
            prop_assert_eq!(last(directory.path(), lines), expected(&all, lines));
        }
    }
}
