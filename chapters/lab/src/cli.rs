//! The command line of `cargo lab`: the reader's own tools.

use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::bench;
use crate::chapter::Chapter;
use crate::checks::by_id;
use crate::grader::{checkpoint, command, doctor, hint, new, one, reading, report, watch};

#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab")]
enum Cli {
    /// Tell what this machine can run, chapter by chapter, and what to do about the rest
    Doctor,
    /// Make a crate of your own, to write along with the book
    New(new::Arguments),
    /// Try a runtime on the checks of a chapter and those before it
    Check(command::Arguments),
    /// The same, again on each build of the runtime
    Watch(command::Arguments),
    /// What to think about for a check, and with 2 what to do
    Hint(hint::Arguments),
    /// Write the crate as it is at a stop of the book, for when you're stuck
    Checkpoint(checkpoint::Arguments),
    /// Make the book from this checkout, and open a page
    Book(reading::Arguments),
    /// Grade many submissions, and make a table
    Report(report::Arguments),
    /// Measure how fast containers start and end, and compare
    Bench(bench::Arguments),
    /// One check, in a process of its own
    #[command(hide = true)]
    OneCheck(OneCheck),
}

/// What `check` starts for each check.
#[derive(clap::Args)]
struct OneCheck {
    id: String,
    #[arg(long)]
    chapter: Chapter,
    #[arg(long)]
    runtime: PathBuf,
    #[arg(long)]
    cgroup: Vec<PathBuf>,
    #[arg(long)]
    run_limit: u64,
}

/// The lab could not do its work.
const NO_LAB: u8 = 2;

/// The whole of `cargo lab`.
pub fn command_line() -> ExitCode {
    carry_out(&Cli::parse()).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "lab: {error:#}"); // or nobody reads that either
        NO_LAB.into()
    })
}

fn carry_out(cli: &Cli) -> Result<ExitCode> {
    match cli {
        Cli::Doctor => doctor::examine(),
        Cli::New(arguments) => new::new(arguments),
        Cli::Check(arguments) => command::check(arguments),
        Cli::Watch(arguments) => watch::watch(arguments),
        Cli::Hint(arguments) => hint::hint(arguments),
        Cli::Checkpoint(arguments) => checkpoint::checkpoint(arguments),
        Cli::Book(arguments) => reading::book(arguments),
        Cli::Report(arguments) => report::report(arguments),
        Cli::Bench(arguments) => bench::bench(arguments),
        Cli::OneCheck(told) => Ok(match by_id(&told.id) {
            Some(check) => one::inside(check, told.chapter, &told.runtime, &told.cgroup, told.run_limit),
            None => ExitCode::FAILURE,
        }),
    }
}
