//! Why a command was not started: pipe(2), execve(2), poll(2), prctl(2).
//!
//! The child has the writing end, which execve(2) closes. So the end of the input means that the command runs, and words
//! before it mean that it never will.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use anyhow::{Context, Result, ensure};
use ch01_run::errors;
use log::debug;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// The child's end.
#[derive(Debug)]
pub struct Report(PipeWriter);

/// The end of the one who waits.
#[derive(Debug)]
pub struct Outcome(PipeReader);

/// Makes both. Do it right before the child: whoever else is forked while they are open keeps them open.
pub fn make() -> Result<(Outcome, Report)> {
    let (reader, writer) = io::pipe().context("making a pipe for the child's report")?;
    Ok((Outcome(reader), Report(writer)))
}

impl Report {
    /// In the child: says why there will be no command, and returns the status that goes with it.
    pub fn tell(&self, error: &anyhow::Error) -> u8 {
        let status = errors::exit_status(error);
        let message = [&[status], errors::one_line(error).as_bytes()].concat();
        let _ = (&self.0).write_all(&message); // if nobody reads it, the status says as much
        status
    }

    /// The descriptor, which must stay open until the command is executed.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// In the command's process, after it has become another user: asks once more to die with its parent, because the
    /// kernel has forgotten that. Fails if whoever reads the report has ended meanwhile.
    ///
    /// Looking for that one by getppid(2) does not help: for a process 1 that number is always 0, and when the parent has
    /// ended too. But when it ends, the kernel closes its end of the pipe before it looks for children that wish to die
    /// too; and poll(2) tells without waiting whether that end is closed.
    pub fn stay_bound(&self) -> Result<()> {
        debug!("prctl(PR_SET_PDEATHSIG, SIGKILL)");
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("asking to die with the parent")?;
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).context("looking for the parent")?;
        let gone = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
        ensure!(!gone, "the parent is gone");
        Ok(())
    }
}

impl Outcome {
    /// Waits for it: `None` if the command runs, or was killed before; or else the status and a line.
    pub fn read(&mut self) -> Result<Option<(u8, String)>> {
        let mut message = Vec::new();
        self.0.read_to_end(&mut message).context("reading the child's report")?;
        Ok(message.split_first().map(|(status, line)| (*status, String::from_utf8_lossy(line).into_owned())))
    }
}

impl AsFd for Outcome {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ch01_run::errors::NotStarted;

    #[test]
    fn what_is_told_arrives() {
        let (mut outcome, report) = make().unwrap();
        let error = anyhow::Error::new(NotStarted::NotFound).context("executing \"x\"");
        assert_eq!(report.tell(&error), 127);
        drop(report);
        let told = outcome.read().unwrap();
        assert_eq!(told, Some((127, "executing \"x\": command not found".to_string())));
        let (mut outcome, report) = make().unwrap();
        drop(report);
        assert_eq!(outcome.read().unwrap(), None);
    }

    #[test]
    fn a_reader_that_is_gone_is_seen() {
        let (outcome, report) = make().unwrap();
        let bound = report.stay_bound();
        drop(outcome);
        let error = report.stay_bound().unwrap_err();
        nix::sys::prctl::set_pdeathsig(None).unwrap();
        assert!(bound.is_ok() && error.to_string().contains("gone"));
    }
}
