//! The program. Each chapter of the book replaces it, from this line to the mark near the end.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(arg_required_else_help = false)]
enum Cli {
    /// Run a command in a new container
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let Cli::Run(args) = Cli::parse();
    eprintln!("byhand: {:?} is not started: `run` is still to be written.", args.command);
    eprintln!("byhand: chapter 1 of the book begins with it: BOOK/ch01-run.html");
    ExitCode::from(125)
}

// ==== your program ends here: the lines below stay as they are ====
// They give this program the crate of `lib.rs` beside it under the chapters' names.
extern crate byhand as CHAPTER;
