//! `cargo lab`: the reader's own tools.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lab::{Chapter, bench, check, hint, new, report, watch};

#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab")]
enum Cli {
    /// Tell what this machine can run, chapter by chapter, and what to do about the rest
    Doctor,
    /// Make a crate of your own, to write along with the book
    New(new::Arguments),
    /// Try a runtime on the checks of a chapter and those before it
    Check(check::Arguments),
    /// The same, again on each build of the runtime
    Watch(check::Arguments),
    /// What to think about for a check, and with 2 what to do
    Hint(hint::Arguments),
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

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Doctor => lab::doctor::examine(),
        Cli::New(arguments) => new::new(&arguments),
        Cli::Check(arguments) => check::check(&arguments),
        Cli::Watch(arguments) => watch::watch(&arguments),
        Cli::Hint(arguments) => hint::hint(&arguments),
        Cli::Report(arguments) => report::report(&arguments),
        Cli::Bench(arguments) => bench::bench(&arguments),
        Cli::OneCheck(one) => match lab::by_id(&one.id) {
            Some(check) => lab::grade::inside(check, one.chapter, &one.runtime, &one.cgroup, one.run_limit),
            None => ExitCode::FAILURE,
        },
    }
}
