//! Messages that teach, and a little patience: what was done, what was expected, what was seen.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::io::{ErrorKind, Write, stdout};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};

/// How long anything that should happen soon may take on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// This host lacks what the check needs. That is no failure of the runtime.
#[derive(Debug)]
pub struct CannotRun(pub String);

impl Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be checked here: {}", self.0)
    }
}

impl std::error::Error for CannotRun {}

pub(crate) fn cannot_run(reason: impl Display) -> Error {
    CannotRun(reason.to_string()).into()
}

/// A failed check: `did` is a command line that can be pasted.
pub(crate) fn differs(did: impl Display, expected: impl Display, saw: impl Display) -> Error {
    Failure { did: did.to_string(), expected: expected.to_string(), saw: saw.to_string() }.into()
}

/// Why a check failed.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// A command line that can be pasted.
    pub did: String,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub saw: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  did:      {}\n  expected: {}\n  saw:      {}", self.did, self.expected, self.saw)
    }
}

impl std::error::Error for Failure {}

/// Fails unless the two are the same.
pub(crate) fn same<T: PartialEq + fmt::Debug>(
    did: impl Display,
    what: &str,
    expected: T,
    saw: T,
) -> Result<()> {
    if expected == saw {
        return Ok(());
    }
    Err(differs(did, format!("{what} {expected:?}"), format!("{saw:?}")))
}

/// Prints what was asked for, on stdout. Not print: that panics when it cannot (`cargo lab doctor > /dev/full`). A reader
/// who has gone (`| head -1`) has got what he wanted.
pub(crate) fn tell(text: &str) -> Result<()> {
    let mut out = stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("writing to stdout"),
    }
}

/// Asks again and again until there is an answer, or `limit` has passed.
pub(crate) fn wait_for<T>(limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A word as a shell takes it. Bytes that are no text are written as bash's `$'\xff'`.
pub(crate) fn quoted(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./:=,%+@".contains(b);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(plain) => text.to_string(),
        Ok(text) if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{}'", bytes.escape_ascii()),
    }
}

/// Bytes for a message: as text where they are text, and not too many of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 2000;
    let text = format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]));
    if bytes.len() > MOST { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_if_needed() {
        assert_eq!(quoted("--cpus"), "--cpus");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted(OsStr::from_bytes(b"\xff\n")), r"$'\xff\n'");
    }
}
