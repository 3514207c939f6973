//! `pause`: stops all processes of containers where they stand.

use anyhow::{Result, bail};

use crate::groups::Groups;
use crate::several::Containers;
use crate::state::State;

/// What `pause` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Containers,
}

/// All that `pause` does, in order.
pub fn pause(args: &Args) -> Result<u8> {
    args.which.each(|record, word| match State::of(record)? {
        State::Running => {
            let groups = Groups::open(record.id())?;
            groups.freeze()?;
            if !State::of(record)?.runs() {
                groups.thaw()?; // it has ended meanwhile, and what starts next must not begin frozen
                bail!("container {} is not running", word.display());
            }
            Ok(())
        }
        State::Paused => bail!("container {} is already paused", word.display()),
        _ => bail!("container {} is not running", word.display()),
    })
}
