//! `unpause`: lets the processes of paused containers go on.

use anyhow::{Result, bail};

use crate::groups::Groups;
use crate::several::Containers;
use crate::state::State;

/// What `unpause` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Containers,
}

/// All that `unpause` does, in order.
pub fn unpause(args: &Args) -> Result<u8> {
    args.which.each(|record, word| match State::of(record)? {
        State::Paused => Groups::open(record.id())?.thaw(),
        State::Running => bail!("container {} is not paused", word.display()),
        _ => bail!("container {} is not running", word.display()),
    })
}
