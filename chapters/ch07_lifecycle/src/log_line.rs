//! A line of a log, as it is written and as it is read.
//!
//! The format is that of Kubernetes: `TIME stdout F text`, and P in the place of F if the line goes on in the next piece.

use std::fmt;

use crate::time;

/// How long the text of a piece becomes, in bytes. What has no newline until then is no line for anybody who waits for it.
pub const LONGEST_TEXT: usize = 16 << 10;

/// Where a container has printed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1, and all that goes to a terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        })
    }
}

/// What stands before the F or P, with the time of now.
pub(crate) fn beginning(stream: Stream) -> String {
    format!("{} {stream} ", time::rfc3339(time::moment()))
}

/// One line of the file, of a text in parts.
pub(crate) fn put(batch: &mut Vec<u8>, head: &str, kind: &[u8], text: &[&[u8]]) {
    batch.extend_from_slice(head.as_bytes());
    batch.extend_from_slice(kind);
    for part in text {
        batch.extend_from_slice(part);
    }
    batch.push(b'\n');
}

/// One line of the file: a line that the container has printed, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// When, as [`rfc3339`](crate::time::rfc3339) writes it.
    pub time: &'a str,
    /// Where it was printed.
    pub stream: Stream,
    /// Whether the line ends here.
    pub ends: bool,
    /// What was printed, without the newline.
    pub text: &'a [u8],
}

impl<'a> Piece<'a> {
    /// Reads a line of the file. `None` for what is no such line: half of one, or what a disk has made of it.
    pub fn parse(line: &'a [u8]) -> Option<Piece<'a>> {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let time = words.next().and_then(|time| str::from_utf8(time).ok()).filter(|time| is_time(time))?;
        let stream = match words.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let ends = match words.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Piece { time, stream, ends, text: words.next()? })
    }
}

/// Whether it has a time's length and looks like one.
fn is_time(text: &str) -> bool {
    text.len() == "1970-01-01T00:00:00.000000000Z".len() && text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_file() {
        let time = "2025-11-29T02:15:43.012345678Z";
        let line = format!("{time} stderr P  two  words ");
        let piece = Piece { time, stream: Stream::Stderr, ends: false, text: b" two  words " };
        assert_eq!(Piece::parse(line.as_bytes()), Some(piece));
        let bytes = [format!("{time} stdout F ").as_bytes(), b"\xff\0\r"].concat();
        assert_eq!(Piece::parse(&bytes).unwrap().text, b"\xff\0\r");
        assert_eq!(Piece::parse(format!("{time} stdout F ").as_bytes()).unwrap().text, b"");
        let wrong =
            ["", " ", "x stdout F y", "{} stdout F", "{} stdin F y", "{} stdout X y", "{}", "{} stdout  F y"];
        for line in wrong.map(|line| line.replace("{}", time)) {
            assert_eq!(Piece::parse(line.as_bytes()), None, "{line}");
        }
    }
}
