//! `stats`: what containers use, now and again each second.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::common::Common;
use crate::groups::Groups;
use crate::listing::Listed;
use crate::record::Record;
use crate::{find, output, record, table, usage};

/// What `stats` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Tell it once
    #[arg(long)]
    no_stream: bool,
    #[command(flatten)]
    common: Common,
    /// The containers: ids, beginnings of ids, or names [default: all that run]
    containers: Vec<OsString>,
}

/// What CPU time a container had used, and when that was.
type Before = HashMap<String, (u64, Instant)>;

const HEAD: [&str; 6] = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS"];

/// All that `stats` does, in order.
pub fn stats(args: &Args) -> Result<u8> {
    let state = args.common.begin()?;
    let mut before = Before::new();
    rows(args, &state, &mut before)?; // the first look only: how much in a second takes two
    loop {
        sleep(Duration::from_secs(1));
        let text = table::text(HEAD, &rows(args, &state, &mut before)?);
        let again = !args.no_stream && stdout().is_terminal();
        let is_read = output::print(if again { in_place(&text) } else { text }.as_bytes())?;
        if args.no_stream || !is_read {
            return Ok(0);
        }
    }
}

/// The table in the place of the one before, for a terminal. Not after clearing all of it, which would flicker.
fn in_place(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn rows(args: &Args, state_directory: &Path, before: &mut Before) -> Result<Vec<[String; 6]>> {
    let mut rows = Vec::new();
    for record in wanted(args, state_directory)? {
        if let Some(listed) = Listed::look(record, args.all || !args.containers.is_empty())? {
            rows.push(row(&listed, before)?);
        }
    }
    Ok(rows)
}

fn wanted(args: &Args, state_directory: &Path) -> Result<Vec<Record>> {
    if args.containers.is_empty() {
        return record::all(state_directory);
    }
    args.containers.iter().map(|word| find::one(state_directory, word)).collect()
}

fn row(listed: &Listed, before: &mut Before) -> Result<[String; 6]> {
    let (id, name) = (listed.id.clone(), listed.name.clone());
    if !listed.state.runs() {
        let nothing = || "--".to_string();
        return Ok([id, name, nothing(), "-- / --".to_string(), nothing(), nothing()]);
    }
    let groups = Groups::open(&listed.id)?;
    let (used, now) = (usage::cpu_time(&groups)?, Instant::now());
    let cpu = match before.insert(id.clone(), (used, now)) {
        Some((earlier, then)) => used.saturating_sub(earlier) as f64 / (now - then).as_nanos() as f64,
        None => 0.0,
    };
    let (memory, limit) = (usage::memory(&groups)?, usage::memory_limit(&groups)?);
    let share = memory as f64 / limit as f64;
    let of_limit = format!("{} / {}", table::size(memory), table::size(limit));
    let threads = groups.count_threads()?.to_string();
    Ok([id, name, percent(cpu), of_limit, percent(share), threads])
}

fn percent(part: f64) -> String {
    format!("{:.2}%", part * 100.0)
}
