//! Waits for what a container prints next, without asking again and again: inotify(7), flock(2), poll(2).

use std::io::{self, PipeReader, stderr, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use ch06_init::worker::Worker;
use log::debug;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::record::Record;
use crate::time;

/// Tells when there may be more in a container's log, and when there will be no more.
#[derive(Debug)]
pub struct Follower {
    changes: Inotify,
    /// Hangs up when the container has ended: poll(2) can't wait for a lock, but a process can, and then it ends.
    end: PipeReader,
    _waits: Worker,
}

impl Follower {
    /// Begins to watch. What was printed before may have been missed; what is printed from now on will be told.
    pub fn begin(record: &Record) -> Result<Follower> {
        let directory = record.directory();
        let (end, theirs) = io::pipe().context("making a pipe for the container's end")?;
        let waits = Worker::start(|| record.wait().map(drop))?;
        drop(theirs); // the worker's alone, so that it ends with it
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        debug!("inotify_add_watch({directory:?}, IN_MODIFY | IN_CREATE)");
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|changes| changes.add_watch(directory, events).map(|_| changes))
            .with_context(|| format!("watching {}", directory.display()))?;
        Ok(Follower { changes, end, _waits: waits })
    }

    /// Waits until there may be more. Returns whether that is the last: the container has ended, or it is later than
    /// `until`, or nobody reads what we print.
    pub fn wait(&self, until: Option<Duration>) -> Result<bool> {
        let (out, err) = (stdout(), stderr());
        // Nothing is asked of the last two. That nobody reads them is told all the same.
        let mut fds = [
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.end.as_fd(), PollFlags::POLLIN),
            PollFd::new(out.as_fd(), PollFlags::empty()),
            PollFd::new(err.as_fd(), PollFlags::empty()),
        ];
        let left = until.map(|until| until.saturating_sub(time::moment()));
        let limit =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => return Ok(false),
            polled => polled.context("waiting for what the container prints")?,
        };
        let ended = fds[1..].iter().any(|fd| fd.any().unwrap_or(true));
        // What has changed doesn't matter, only that something has.
        match self.changes.read_events() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("reading what has changed in the record"),
        }
        Ok(ended || until.is_some_and(|until| time::moment() >= until))
    }
}
