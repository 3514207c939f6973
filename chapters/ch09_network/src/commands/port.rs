//! `port`: which ports of the host lead to a container's.

use anyhow::{Result, ensure};
use ch07_lifecycle::common::One;
use ch07_lifecycle::output;
use ch07_lifecycle::state::State;

use crate::publish;

/// What `port` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: One,
}

/// All that `port` does, in order.
pub fn port(args: &Args) -> Result<u8> {
    let record = args.which.begin()?;
    ensure!(State::of(&record)?.runs(), "container {} is not running", args.which.container.display());
    if let Some((_, lines)) = publish::published(&record)? {
        output::print_line(&lines)?;
    }
    Ok(0)
}
