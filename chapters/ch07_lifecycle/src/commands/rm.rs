//! `rm`: away with containers, and with what they wrote.

use std::path::Path;

use anyhow::{Result, ensure};
use ch01_run::{inherited, messages};

use crate::record::Record;
use crate::several::{self, Containers};
use crate::state::State;
use crate::{find, names, orphans, output, stopping, unfinished};

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill what runs, and do not mind what is not there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    which: Containers,
}

/// All that `rm` does, in order.
pub fn rm(args: &Args) -> Result<u8> {
    let state = args.which.begin()?;
    inherited::normalize()?;
    orphans::sweep(&state)?;
    let status = several::each(&args.which.containers, |word| {
        let record = match find::meant_by(&state, word) {
            Err(error) if args.force => {
                messages::fail(&error);
                return Ok(true);
            }
            found => found?,
        };
        remove(&state, &record, &word.to_string_lossy(), args.force)?;
        output::print_line(&word.to_string_lossy()).map(|()| true)
    })?;
    names::sweep(&state)?;
    Ok(status)
}

/// With its lock held: from here on nobody starts it. If it has just been started, only `force` ends it again.
fn remove(state: &Path, record: &Record, word: &str, force: bool) -> Result<()> {
    loop {
        if force {
            stopping::kill_now(record)?;
        }
        if let Some(held) = record.lock()? {
            return unfinished::remove(state, &held);
        }
        if !record.has("")? {
            return Ok(()); // somebody else has just removed it
        }
        if !force {
            ensure!(!State::of(record)?.runs(), "container {word} is running: stop it first, or use rm -f");
            ensure!(!record.lives()?, "container {word} is about to run: try again");
        }
        // Whoever had it let go of it meanwhile: once more.
    }
}
