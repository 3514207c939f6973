//! `cargo lab`: the reader's own tools. For now one: what can this machine run?

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab")]
enum Cli {
    /// Tell what this machine can run, chapter by chapter, and what to do about the rest
    Doctor,
}

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Doctor => lab::doctor::examine(),
    }
}
