//! `completion`: what a shell is to know so that Tab completes commands, options and containers.

use std::env;
use std::path::Path;

use anyhow::Result;
use clap_complete::Shell;

use crate::output;

/// What `completion` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell: bash or zsh
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a script for the shell. It is for the name that we were called by: a shell completes by the name that is typed.
pub fn completion(args: &Args, mut command: clap::Command) -> Result<u8> {
    let path = env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    output::print(&script)?;
    Ok(0)
}
