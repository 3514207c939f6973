//! What a container prints, cut into lines, each with its time.

use std::path::Path;

use anyhow::Result;

use crate::log_file::LogFile;
use crate::log_line::{LONGEST_TEXT, Stream, beginning, put};

/// How much is collected for one write(2), in bytes.
const BATCH: usize = 64 << 10;

/// The log of one container, for the one process that writes it.
#[derive(Debug)]
pub struct Log {
    file: LogFile,
    /// What has been printed since the last newline, on each stream.
    unended: [Vec<u8>; 2],
    /// What is to be written next.
    batch: Vec<u8>,
}

impl Log {
    /// Opens the log in a container's directory, or makes it, for root only.
    pub fn open(directory: &Path) -> Result<Log> {
        let file = LogFile::open(directory)?;
        Ok(Log { file, unended: [Vec::new(), Vec::new()], batch: Vec::new() })
    }

    /// Writes down what has come, with the time. The last line is kept back as long as it has no newline.
    ///
    /// On a full disk the container goes on, and what it prints is lost; when there is room again, a line tells so.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let head = beginning(stream);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.add(&head, stream, part);
            if self.batch.len() >= BATCH {
                self.write()?;
            }
        }
        self.write()
    }

    /// Writes down what has been kept back, as lines without an end: nothing will come after it. Call it when the
    /// container has ended.
    pub fn finish(&mut self) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let text = std::mem::take(&mut self.unended[stream as usize]);
            if !text.is_empty() {
                put(&mut self.batch, &beginning(stream), b"P ", &[&text]);
            }
        }
        self.write()
    }

    /// Adds a line, or a part of one, to the batch.
    fn add(&mut self, head: &str, stream: Stream, part: &[u8]) {
        let before = &mut self.unended[stream as usize];
        let (mut text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
        while before.len() + text.len() > LONGEST_TEXT {
            let (piece, rest) = text.split_at(LONGEST_TEXT - before.len());
            put(&mut self.batch, head, b"P ", &[before, piece]);
            before.clear();
            text = rest;
        }
        if ends {
            put(&mut self.batch, head, b"F ", &[before, text]);
            before.clear();
        } else {
            before.extend_from_slice(text);
        }
    }

    fn write(&mut self) -> Result<()> {
        let written = if self.batch.is_empty() { Ok(()) } else { self.file.write(&self.batch) };
        self.batch.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::LONGEST_FILE;
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const MB: u64 = 1 << 20;

    fn kinds_and_texts(directory: &Path) -> Vec<String> {
        let read = |name| fs::read(directory.join(name)).unwrap_or_default();
        let all = [read("log.1"), read("log")].concat();
        assert!(all.is_empty() || all.ends_with(b"\n"));
        let text = String::from_utf8(all).unwrap();
        text.lines().map(without_time).collect()
    }

    fn without_time(line: &str) -> String {
        line.split_once(' ').unwrap_or(("", line)).1.to_string()
    }

    #[test]
    fn a_line_waits_for_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        log.append(Stream::Stdout, b"one\ntw").unwrap();
        log.append(Stream::Stderr, b"\nerr").unwrap();
        assert_eq!(kinds_and_texts(directory.path()), ["stdout F one", "stderr F "]);
        log.append(Stream::Stdout, b"o\n").unwrap();
        log.finish().unwrap();
        log.finish().unwrap();
        assert_eq!(
            kinds_and_texts(directory.path()),
            ["stdout F one", "stderr F ", "stdout F two", "stderr P err"]
        );
        let mode = fs::metadata(directory.path().join("log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn long_lines_come_in_pieces() {
        for (length, pieces) in
            [(LONGEST_TEXT - 1, 1), (LONGEST_TEXT, 1), (LONGEST_TEXT + 1, 2), (3 * LONGEST_TEXT, 3)]
        {
            for step in [1000, LONGEST_TEXT, 4 * LONGEST_TEXT] {
                let directory = tempfile::tempdir().unwrap();
                let mut log = Log::open(directory.path()).unwrap();
                let line = ["x".repeat(length), "\n".to_string()].concat();
                line.as_bytes().chunks(step).for_each(|part| log.append(Stream::Stdout, part).unwrap());
                let lines = kinds_and_texts(directory.path());
                assert_eq!(lines.len(), pieces);
                assert!(lines[..pieces - 1].iter().all(|line| line.starts_with("stdout P ")));
                assert!(lines[pieces - 1].starts_with("stdout F "));
                assert_eq!(lines.iter().map(|line| line.len() - "stdout F ".len()).sum::<usize>(), length);
            }
        }
    }

    #[test]
    fn two_files_of_ten_megabytes_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        for number in 0..300_000 {
            let two_lines = format!("{}\n{}\n", 2 * number, 2 * number + 1);
            log.append(Stream::Stdout, two_lines.as_bytes()).unwrap();
        }
        for name in ["log", "log.1"] {
            assert!(fs::metadata(directory.path().join(name)).unwrap().len() <= LONGEST_FILE);
        }
        let lines = kinds_and_texts(directory.path());
        let first = 600_000 - lines.len();
        assert!(first > 0 && lines.len() > 200_000);
        assert!(lines.iter().zip(first..).all(|(line, number)| *line == format!("stdout F {number}")));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_torn_line_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log"), "x stdout F whole\nx stdout F to").unwrap();
        Log::open(directory.path()).unwrap().append(Stream::Stdout, b"next\n").unwrap();
        assert_eq!(kinds_and_texts(directory.path()), ["stdout F whole", "stdout F to", "stdout F next"]);
    }

    /// Works in a tmpfs of this many bytes that only this thread sees.
    fn on_a_small_disk(bytes: u64, work: impl FnOnce(&Path) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            let directory = tempfile::tempdir().unwrap();
            let size = format!("size={bytes}");
            mount(Some("none"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
                .unwrap();
            work(directory.path());
            nix::mount::umount(directory.path()).unwrap();
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_full_disk_ends_nothing() {
        on_a_small_disk(MB, |directory| {
            let mut log = Log::open(directory).unwrap();
            fs::write(directory.join("others"), vec![0; 700_000]).unwrap();
            for number in 0..20_000 {
                log.append(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
            }
            let text = fs::read_to_string(directory.join("log")).unwrap();
            let whole = &text[..=text.rfind('\n').unwrap()];
            let before: Vec<_> = whole.lines().map(without_time).collect();
            assert!((1000..20_000).contains(&before.len()));
            fs::remove_file(directory.join("others")).unwrap();
            log.append(Stream::Stdout, b"there is room\n").unwrap();
            let lines = kinds_and_texts(directory);
            assert_eq!(lines[..before.len()], before);
            assert!(lines[lines.len() - 2].ends_with("No space left on device (ENOSPC)"), "{lines:?}");
            assert_eq!(lines[lines.len() - 1], "stdout F there is room");
            assert!(lines.len() <= before.len() + 3);
        });
    }

    #[test]
    fn a_disk_that_is_full_when_a_file_is_ends_nothing() {
        on_a_small_disk(25 * MB, |directory| {
            let mut log = Log::open(directory).unwrap();
            let line = [vec![b'x'; 1000], b"\n".to_vec()].concat();
            let fill = |log: &mut Log, lines| {
                (0..lines).for_each(|_| log.append(Stream::Stdout, &line).unwrap());
            };
            fill(&mut log, 15_000); // about 14 MB in two files
            fs::write(directory.join("others"), vec![0; 20 * MB as usize]).unwrap_err();
            fill(&mut log, 20_000); // no room until log.1 is gone, and then it may be others' again
            fs::remove_file(directory.join("others")).unwrap();
            log.append(Stream::Stdout, b"there is room\n").unwrap();
            let text = kinds_and_texts(directory);
            assert_eq!(text.last().unwrap(), "stdout F there is room");
        });
    }
}
