//! What `cargo lab` tells may find nobody who reads it, and a disk that is full.

use std::fs::File;
use std::io;
use std::process::{Command, Output, Stdio};

fn lab(arguments: &[&str], stdout: impl Into<Stdio>) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).stdout(stdout).output()
}

/// Commands that print, and need nothing to do so.
const TELLING: [&[&str]; 3] = [&["hint", "pid1", "2"], &["doctor"], &["report", "/no/such/submission"]];

#[test]
fn a_reader_who_has_gone_is_no_error() {
    for arguments in TELLING {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let unread = lab(arguments, writer).unwrap();
        let read = lab(arguments, Stdio::null()).unwrap();
        assert_eq!(unread.status, read.status, "{arguments:?}: {unread:?}");
        assert_eq!(String::from_utf8_lossy(&unread.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_said_in_a_line() {
    for arguments in TELLING {
        let output = lab(arguments, File::create("/dev/full").unwrap()).unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert_eq!(words, "lab: writing to stdout: No space left on device (os error 28)\n", "{arguments:?}");
    }
}
