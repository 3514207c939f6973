//! The end of a container, as somebody wants it: pidfd_open(2), poll(2), kill(2).

use std::fs::File;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc::SIGKILL;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::groups::{self, Groups};
use crate::process1::Process1;
use crate::record::Record;
use crate::{door, state::State};

/// How long a container may take to be gone once it has ended or was killed. The kernel may have much memory of its to take back.
const A_WHILE: Duration = Duration::from_secs(60);

/// How often to look.
const A_MOMENT: Duration = Duration::from_millis(2);

/// Ends a container: by this signal; by SIGKILL, if it is still there after so long. Returns when it has ended and its
/// status is written down.
pub fn stop(record: &Record, signal: i32, patience: Option<Duration>) -> Result<()> {
    if !record.lives()? {
        return Ok(());
    }
    stay_down(record)?;
    if let Some(process1) = Process1::of(record)? {
        stay_down(record)?; // once more: a keeper that had only just begun has taken the fact away
        // A frozen process takes no signal but SIGKILL; and it is to have the chance to end well.
        if State::of(record)? == State::Paused {
            Groups::open(record.id())?.thaw()?;
        }
        process1.send(signal)?;
        if has_ended(&process1, patience)? {
            return wait_until_kept_by_none(record, || Ok(()));
        }
    }
    kill_now(record)
}

/// Ends a container at once.
pub fn kill_now(record: &Record) -> Result<()> {
    let mut is_said = false;
    wait_until_kept_by_none(record, || {
        // Said once, and again if it was just about to start: then its keeper has taken the fact away.
        if !is_said || !record.has("stopping")? {
            stay_down(record)?;
            is_said = true;
        }
        kill(record)
    })
}

/// Says that somebody wants it to end, so that its keeper does not start it again. One that waits before the next start is
/// woken.
pub fn stay_down(record: &Record) -> Result<()> {
    // Not by Record::write: several may do this at the same moment, and that the fact is there is all that it says.
    match File::create(record.path("stopping")) {
        Err(_) if !record.has("")? => Ok(()), // somebody else has just removed it
        made => {
            made.with_context(|| format!("writing {}", record.path("stopping").display()))?;
            door::connect_to(record).map(drop)
        }
    }
}

fn kill(record: &Record) -> Result<()> {
    let groups = Groups::open(record.id())?;
    match Process1::of(record)? {
        Some(process1) => process1.send(SIGKILL)?,
        // Whatever has become of the fact: its cgroup has its name, and nobody else is in there.
        None if groups.can_freeze() => groups.kill()?,
        None => {}
    }
    if groups::is_frozen(record.id())? { groups.thaw() } else { Ok(()) } // in version 1 what is frozen doesn't even die
}

/// Waits for the end of its process 1, so long at most. Returns whether it has ended.
fn has_ended(process1: &Process1, patience: Option<Duration>) -> Result<bool> {
    let end = patience.and_then(|patience| Instant::now().checked_add(patience)); // none so late: for ever
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let limit =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let mut fds = [PollFd::new(process1.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => {}
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) => {}
            ended => return Ok(ended? > 0),
        }
    }
}

/// Its keeper has to take note of the end. A limit, for a keeper can be stopped. `work` is done as long as it's there.
fn wait_until_kept_by_none(record: &Record, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + A_WHILE;
    while record.lives()? {
        work()?;
        ensure!(Instant::now() < end, "the keeper of container {} does not end", record.id());
        sleep(A_MOMENT);
    }
    Ok(())
}
