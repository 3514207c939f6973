//! The command line, in Docker's words. Each chapter of the book replaces this file.

use std::ffi::OsString;

use clap::Parser;

#[derive(Parser)]
#[command(arg_required_else_help = false)]
pub enum Cli {
    /// Run a command in a new container
    Run(Run),
}

#[derive(clap::Args)]
pub struct Run {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}
