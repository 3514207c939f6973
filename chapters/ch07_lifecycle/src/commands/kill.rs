//! `kill`: a signal for containers.

use anyhow::{Context, Result};
use nix::libc::SIGKILL;

use crate::process1::Process1;
use crate::several::Containers;
use crate::{signal_name, stopping};

/// Arguments of `kill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which signal
    #[arg(short, long, default_value = "KILL", value_parser = signal_name::parse)]
    signal: i32,
    #[command(flatten)]
    which: Containers,
}

/// All that `kill` does, in order.
pub fn kill(args: &Args) -> Result<u8> {
    args.which.each(|record, word| {
        let process1 = Process1::of(record)?;
        let process1 = process1.with_context(|| format!("container {} is not running", word.display()))?;
        if args.signal == SIGKILL { stopping::kill_now(record) } else { process1.send(args.signal) }
    })
}
