//! The keeper: a process that stays with one container as long as it lives. setsid(2), flock(2).
//!
//! It's the container's parent, so it learns how the container ends. It holds the outer ends of its pipes or its terminal,
//! so what is printed has somewhere to go. It holds the lock on the record, so everybody can see that the container
//! lives. There is one for each container, and none for all: no daemon that must be up, or can take all down.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ch01_run::signals::HeldSignals;
use ch01_run::{errors, messages};
use log::{debug, error};
use nix::pty::Winsize;
use nix::unistd::setsid;

use crate::asked::Plan;
use crate::clients::{Client, Clients};
use crate::groups::Groups;
use crate::record::Record;
use crate::running::Keeper;
use crate::state::KILLED;
use crate::wire::News;
use crate::{creation, descriptors, ends, restart, unfinished};

/// What the keeper is given by whoever makes it.
#[derive(Debug)]
pub struct Start<'a> {
    /// What is to be kept.
    pub plan: &'a Plan,
    /// A container that has been there before, with its lock held; else a new one is made.
    pub old: Option<Record>,
    /// The client that waits for the start.
    pub client: OwnedFd,
    /// Whether the container is that client's, and dies with it.
    pub leash: bool,
    /// The client's terminal has this size.
    pub size: Option<Winsize>,
    /// Signals that this process got so far wait, and go to the container.
    pub signals: &'a HeldSignals,
}

/// Keeps the container to its end, which is told to the clients that are there, and so is what goes wrong.
pub fn keep(start: Start<'_>) -> Result<()> {
    let lock = start.old.as_ref().and_then(Record::lock_held).map(AsRawFd::as_raw_fd);
    let apart = set_apart(&[Some(start.client.as_raw_fd()), lock]);
    let mut first = Client::new(start.client);
    (first.holds_leash, first.waits_for_start) = (start.leash, true);
    let mut clients = Clients::of(first);
    let kept = apart.and_then(|()| kept(start.plan, start.old, start.size, start.signals, &mut clients));
    let (status, line) = kept.unwrap_or_else(|error| (errors::exit_status(&error), errors::one_line(&error)));
    if let Err(error) = clients.tell(&News::Ended(status, line)) {
        debug!("{error:#}"); // the last word waits still, and is sent once more
    }
    clients.say_the_rest()
}

/// Out of the caller's job, so that no key that is typed there, and no hang-up, reaches us; and without what the caller has
/// open.
fn set_apart(ours: &[Option<RawFd>]) -> Result<()> {
    debug!("setsid()");
    setsid().context("making the keeper's session")?;
    ends::to_nowhere(false)?;
    let ours: Vec<_> = ours.iter().copied().flatten().collect();
    descriptors::close_others_but(&ours)
}

/// All of it but the last word: when that is said, all that was to be undone has been.
fn kept(
    plan: &Plan,
    old: Option<Record>,
    size: Option<Winsize>,
    signals: &HeldSignals,
    clients: &mut Clients,
) -> Result<(u8, String)> {
    let is_old = old.is_some();
    let record = old.map_or_else(|| creation::create(plan), Ok)?;
    let lives = Lives { plan, record: &record, has_ended: false };
    if is_old {
        // Whoever kept it may have been killed since the last sweep: without a status it would seem to run from now on.
        if record.has("started")? && !record.has("status")? {
            record.write("status", KILLED)?;
        }
        // How it ended last time stays until the command runs again: it may never do.
        ["failure", "published", "restarts", "stopping"].iter().try_for_each(|fact| record.forget(fact))?;
        record.write("keeper", std::process::id())?;
    }
    let groups = Groups::create(&plan.id, &plan.asked.limits)?;
    let mut keeper = Keeper::new(plan, &record, size, signals, clients)?;
    let ended = run_again_and_again(&mut keeper, plan, &record, &groups)?;
    if let kills @ 1.. = groups.oom_kills()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    groups.remove()?;
    record.forget("attach")?;
    drop(keeper);
    lives.end()?;
    Ok(ended)
}

/// A container that is kept: its record's lock is held. Dropped, a container that was to be removed is.
#[derive(Debug)]
struct Lives<'a> {
    plan: &'a Plan,
    record: &'a Record,
    has_ended: bool,
}

impl Lives<'_> {
    /// Tells what Drop could not: why it failed.
    fn end(mut self) -> Result<()> {
        self.has_ended = true;
        self.clear_up()
    }

    fn clear_up(&self) -> Result<()> {
        match self.plan.asked.keeping.remove {
            true => unfinished::remove(&self.plan.state, self.record),
            false => self.record.forget("keeper"), // last: what is to be undone has been
        }
    }
}

impl Drop for Lives<'_> {
    fn drop(&mut self) {
        if !self.has_ended
            && let Err(error) = self.clear_up()
        {
            error!("{error:#}");
        }
    }
}

/// Runs the container, and again if it is to be, until its last end.
fn run_again_and_again(
    keeper: &mut Keeper<'_>,
    plan: &Plan,
    record: &Record,
    groups: &Groups,
) -> Result<(u8, String)> {
    let policy = plan.asked.keeping.restart;
    let (mut restarts, mut in_a_row) = (0, 0);
    loop {
        let began = Instant::now();
        let (status, line) = keeper.run(groups)?;
        if began.elapsed() >= restart::WORKS {
            in_a_row = 0;
        }
        if !line.is_empty() || !policy.again(status, restarts) || keeper.is_over()? {
            return Ok((status, line));
        }
        if !pause(keeper, restart::pause(in_a_row))? {
            return Ok((status, line));
        }
        (restarts, in_a_row) = (restarts + 1, in_a_row + 1);
        record.write("restarts", restarts)?;
    }
}

/// Lets some time pass. Returns whether there is to be another start.
fn pause(keeper: &mut Keeper<'_>, time: Duration) -> Result<bool> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if keeper.is_over()? {
            return Ok(false);
        }
        if left.is_zero() {
            return Ok(true);
        }
        if keeper.idle(left)? {
            return Ok(false);
        }
    }
}
