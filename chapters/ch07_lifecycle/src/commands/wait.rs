//! `wait`: for the end of containers. flock(2).

use std::os::fd::AsFd;

use anyhow::{Context, Result};

use crate::record::Record;
use crate::several::{self, Containers};
use crate::state::State;
use crate::wire::{self, News};
use crate::{door, find, output};

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Containers,
}

/// All that `wait` does, in order.
pub fn wait(args: &Args) -> Result<u8> {
    let state = args.which.begin()?;
    several::each(&args.which.containers, |word| {
        let record = find::one(&state, word)?;
        let status = status_at_its_end(&record)?;
        output::print_line(&status.to_string()).map(|()| true)
    })
}

/// The keeper itself tells it, for a container may be removed at its end. Who comes too late finds it written down.
fn status_at_its_end(record: &Record) -> Result<u8> {
    if let Some(keeper) = door::connect_to(record)? {
        while let Some(message) = wire::receive(keeper.as_fd())? {
            if let News::Ended(status, _) = News::from_bytes(&message)? {
                return Ok(status);
            }
        }
    }
    // Held while we look: a sweep that writes down the end of a killed keeper's container would seem to keep it.
    let _held = record.wait()?.with_context(|| format!("container {} was removed meanwhile", record.id()))?;
    Ok(match State::of(record)? {
        State::Exited(status) | State::Restarting(status) => status,
        _ => 0, // it was never started
    })
}
