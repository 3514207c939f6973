//! How a run ended, and what one can demand of that.

use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::{Error, Result};

use crate::see::{self, shown};

/// The end of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Outcome {
    /// A failure with all that the run has shown.
    pub(crate) fn differs(&self, expected: impl Display) -> Error {
        let status = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, signal) => format!("`run` itself killed by signal {}", signal.unwrap_or_default()),
        };
        let (stdout, stderr) = (shown(&self.stdout), shown(&self.stderr));
        see::differs(&self.line, expected, format!("{status}, stdout {stdout}, stderr {stderr}"))
    }

    fn must(&self, holds: bool, expected: impl Display) -> Result<&Self> {
        if holds { Ok(self) } else { Err(self.differs(expected)) }
    }

    pub(crate) fn exits(&self, code: i32) -> Result<&Self> {
        self.must(self.status.code() == Some(code), format!("exit status {code}"))
    }

    /// Exactly this on stdout.
    pub(crate) fn prints(&self, text: impl AsRef<[u8]>) -> Result<&Self> {
        let text = text.as_ref();
        self.must(self.stdout == text, format!("exactly {} on stdout", shown(text)))
    }

    /// Exactly this on stderr.
    pub(crate) fn complains(&self, text: impl AsRef<[u8]>) -> Result<&Self> {
        let text = text.as_ref();
        self.must(self.stderr == text, format!("exactly {} on stderr", shown(text)))
    }

    /// This somewhere on stderr, in capitals or not.
    pub(crate) fn mentions(&self, text: &str) -> Result<&Self> {
        let stderr = self.error().to_lowercase();
        self.must(stderr.contains(&text.to_lowercase()), format!("{text:?} on stderr"))
    }

    /// All went well: status 0 and not a word on stderr.
    pub(crate) fn succeeds(&self) -> Result<&Self> {
        self.exits(0)?.complains("")
    }

    /// The command never ran: one of these statuses, one line on stderr that says why, and no output.
    pub(crate) fn refuses(&self, codes: &[i32]) -> Result<&Self> {
        let code = self.status.code().is_some_and(|code| codes.contains(&code));
        self.must(code, format!("an exit status out of {codes:?}"))?;
        let error = self.error();
        let one_line = error.lines().count() == 1 && !error.trim().is_empty();
        self.must(one_line, "one line on stderr that says why")?;
        self.prints("")
    }

    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn error(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}
