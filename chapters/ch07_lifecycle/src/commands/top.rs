//! `top`: the processes of a container, as the host sees them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::common::One;
use crate::groups::Groups;
use crate::state::State;
use crate::usage::{Process, ticks};
use crate::{output, table, time};

/// What `top` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: One,
}

/// All that `top` does, in order.
pub fn top(args: &Args) -> Result<u8> {
    let record = args.which.begin()?;
    ensure!(State::of(&record)?.runs(), "container {} is not running", args.which.container.display());
    let (boot, ticks) = (boot()?, ticks()?);
    let rows: Vec<_> = Groups::open(record.id())?
        .processes()?
        .into_iter()
        .filter_map(Process::look)
        .map(|process| {
            let began = clock(boot + Duration::from_millis(process.start * 1000 / ticks));
            let seconds = process.own_time / ticks;
            let used = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            let (user, pid) = (process.user.to_string(), process.pid.to_string());
            [user, pid, process.parent, began, used, process.command]
        })
        .collect();
    output::print(table::text(["UID", "PID", "PPID", "STIME", "TIME", "CMD"], &rows).as_bytes())?;
    Ok(0)
}

/// When the machine started.
fn boot() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
    Ok(Duration::from_secs(seconds.context("/proc/stat has no btime")?))
}

/// The time of the day in UTC, or of what is older than a day, the date.
fn clock(moment: Duration) -> String {
    let text = time::rfc3339(moment);
    let is_old = time::age(moment).as_secs() >= 24 * 60 * 60;
    text.get(if is_old { 5..10 } else { 11..16 }).unwrap_or_default().to_string()
}
