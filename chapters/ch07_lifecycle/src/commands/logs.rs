//! `logs`: what a container has printed, and what it goes on to print.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::common::One;
use crate::log_follower::Follower;
use crate::log_printer::Printer;
use crate::log_reader::Reader;
use crate::{since, time};

/// What `logs` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what is printed from now on, until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Begin each line with its time, in UTC
    #[arg(short, long)]
    timestamps: bool,
    /// Only the last N lines, or all
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// Only what was printed since then: 10m ago, or at 2025-11-29T14:30:00Z, or so many seconds after 1970
    #[arg(long, value_name = "TIME", value_parser = since::meant)]
    since: Option<Duration>,
    /// Only what was printed until then
    #[arg(long, value_name = "TIME", value_parser = since::meant)]
    until: Option<Duration>,
    #[command(flatten)]
    which: One,
}

/// How many of the last lines. `None`: all.
type Tail = Option<usize>;

/// All that `logs` does, in order.
pub fn logs(args: &Args) -> Result<u8> {
    let record = args.which.begin()?;
    // Before the first look: what is printed after it wakes us.
    let follower = if args.follow { Some(Follower::begin(&record)?) } else { None };
    let mut reader = Reader::open(record.directory(), args.follow)?;
    if let Some(lines) = args.tail {
        reader.go_to_last(lines)?;
    }
    let mut printer =
        Printer::new(args.timestamps, args.since.map(time::rfc3339), args.until.map(time::rfc3339));
    let mut ended = false;
    loop {
        let more = reader.read(|piece| printer.print(piece))?;
        printer.flush()?;
        match &follower {
            _ if printer.is_unread() => return Ok(0),
            _ if more => {}
            // What was printed before the end is there when we know of the end: so once more after that.
            Some(follower) if !ended => ended = follower.wait(args.until)?,
            _ => return Ok(0),
        }
    }
}

fn tail(text: &str) -> Result<Tail> {
    match text {
        "all" => Ok(None),
        number => number.parse().ok().map(Some).context("neither a number of lines nor all"),
    }
}
