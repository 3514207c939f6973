//! An error becomes one line and an exit status: errno(3), and the statuses that Docker uses.

use std::error::Error;
use std::fmt;
use std::io;

use nix::errno::Errno;

/// The status of a runtime that failed before the command could start.
pub const RUNTIME_FAILED: u8 = 125;

/// Why a command did not start although its container did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStarted {
    /// No such file, in PATH or at the path given.
    NotFound,
    /// The file is there and the kernel will not execute it.
    NotExecutable,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotStarted::NotFound => "command not found",
            NotStarted::NotExecutable => "command cannot be executed",
        })
    }
}

impl Error for NotStarted {}

/// The exit status that tells this error: 127 and 126 as shells have it, else 125.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(NotStarted::NotFound) => 127,
        Some(NotStarted::NotExecutable) => 126,
        None => RUNTIME_FAILED,
    }
}

/// The whole chain of an error on one line: the step, the object, the reason. What a terminal would take for a command,
/// as somebody else's file name could have it, is shown as `\u{1b}`.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for part in error.chain().map(describe) {
        // Some errors, clap's among them, already end with their cause.
        if !line.ends_with(&part) {
            line += if line.is_empty() { "" } else { ": " };
            line += &part;
        }
    }
    line.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// One link of the chain. The kernel's reasons get both their sentence and their name, because the
/// name is what man pages list: `Permission denied (EACCES)`.
fn describe(cause: &(dyn Error + 'static)) -> String {
    let io_errno = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    if let Some(errno) = cause.downcast_ref().copied().or(io_errno.map(Errno::from_raw)) {
        return format!("{} ({errno:?})", errno.desc());
    }
    // Only the first paragraph: the command line parser's errors go on with usage and tips.
    let text = cause.to_string();
    let first = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_errno_has_its_sentence_and_its_name() {
        let mounting = Err::<(), _>(Errno::EACCES).context("mounting proc on /proc");
        let opening = Err::<(), _>(io::Error::from_raw_os_error(2)).context("opening x");
        let lines = [mounting, opening].map(|result| one_line(&result.unwrap_err()));
        assert_eq!(lines[0], "mounting proc on /proc: Permission denied (EACCES)");
        assert_eq!(lines[1], "opening x: No such file or directory (ENOENT)");
    }

    #[test]
    fn many_lines_become_one() {
        let usage = anyhow::anyhow!("error: two\n  things\n\nUsage: many words");
        assert_eq!(one_line(&usage), "two things");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such level").context("bad option: no such level");
        assert_eq!(one_line(&error), "bad option: no such level");
    }

    #[test]
    fn the_status_is_found_below_other_context() {
        let error = anyhow::Error::new(Errno::ENOENT).context(NotStarted::NotFound).context("sh");
        assert_eq!(exit_status(&error), 127);
        assert_eq!(exit_status(&anyhow::anyhow!("anything else")), RUNTIME_FAILED);
    }
}
