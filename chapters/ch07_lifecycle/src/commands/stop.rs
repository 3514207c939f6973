//! `stop`: the end of containers, first asked for, then made.

use std::time::Duration;

use anyhow::Result;
use nix::libc::SIGTERM;

use crate::asked::{Asked, STOP_TIMEOUT};
use crate::several::Containers;
use crate::{signal_name, stopping};

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long to wait before the container is killed, in seconds; -1: for ever [default: --stop-timeout of run]
    #[arg(short = 't', long = "timeout", alias = "time", value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,
    /// What to send first [default: --stop-signal of run]
    #[arg(short, long, value_parser = signal_name::parse)]
    signal: Option<i32>,
    #[command(flatten)]
    which: Containers,
}

/// All that `stop` does, in order.
pub fn stop(args: &Args) -> Result<u8> {
    args.which.at_once(|record| {
        // Of a damaged record nobody knows what was asked. It can be stopped all the same.
        let keeping = Asked::of(record).ok().map(|asked| asked.keeping);
        let (signal, seconds) =
            keeping.map_or((SIGTERM, STOP_TIMEOUT), |keeping| (keeping.stop_signal, keeping.stop_timeout));
        let seconds = args.timeout.unwrap_or(seconds);
        let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
        stopping::stop(record, args.signal.unwrap_or(signal), patience)
    })
}
