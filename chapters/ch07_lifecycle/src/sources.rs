//! All that a keeper waits for at once: poll(2).

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Who has something for the keeper.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A signal has come.
    Signals,
    /// A client wants to be let in.
    Door,
    /// The container's child tells how the start went.
    Report,
    /// The container's terminal is on its way.
    Terminal,
    /// The container has printed something: which of its outputs.
    Output(usize),
    /// The container has read, and there is room for more keys.
    Input,
    /// A client wishes something, or can be told something: which one.
    Client(usize),
}

/// One that is asked, and for what.
pub type Asked<'a> = (Source, BorrowedFd<'a>, PollFlags);

/// Waits, so long at most, until one of them has something. Returns those that have, in the order in which they were asked.
pub fn wait(asked: &[Asked<'_>], limit: PollTimeout) -> Result<Vec<(Source, PollFlags)>> {
    let mut fds: Vec<_> = asked.iter().map(|(_, fd, events)| PollFd::new(*fd, *events)).collect();
    match poll(&mut fds, limit) {
        Err(Errno::EINTR) => return Ok(Vec::new()),
        polled => polled.context("waiting for the container and its clients")?,
    };
    let seen = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
    let ready = asked.iter().zip(seen).filter(|(_, events)| !events.is_empty());
    Ok(ready.map(|((source, ..), events)| (*source, events)).collect())
}
