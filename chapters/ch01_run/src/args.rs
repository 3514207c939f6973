// ANCHOR: head
//! The command line of chapter 1, in Docker's words.

use std::ffi::OsString;

use clap::Parser;
use log::LevelFilter;
// ANCHOR_END: head

// ANCHOR: cli
#[derive(Parser)]
#[command(arg_required_else_help = false)] // no command at all is an error like any other: one line, 125
pub enum Cli {
    /// Run a command in a new container
    Run(Run),
}
// ANCHOR_END: cli

// ANCHOR: run
#[derive(clap::Args)]
pub struct Run {
    /// Keep stdin open (else the container reads /dev/null)
    #[arg(short)]
    pub interactive: bool,
    /// Use the caller's terminal
    #[arg(short)]
    pub terminal: bool,
    /// The container's hostname [default: its id]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<OsString>,
    /// What to tell on stderr: error, warn, info, debug or trace [default: $RUST_LOG, else warn]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}
// ANCHOR_END: run
