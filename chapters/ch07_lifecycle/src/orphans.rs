//! Containers whose keepers were killed: what they left is taken away, and their end is written down. flock(2).

use std::path::Path;

use anyhow::Result;
use ch04_overlay::remains;
use log::{debug, warn};

use crate::record::{self, Record};
use crate::state::KILLED;
use crate::{groups, time, unfinished};

/// Sees to all of them, and to what else killed commands have left. For those that live, or have ended well, one look is
/// enough: a keeper takes the fact `keeper` away when all is done.
pub fn sweep(state_directory: &Path) -> Result<()> {
    unfinished::sweep(state_directory)?;
    for record in record::unsorted(state_directory)? {
        // What somebody has mounted on a record is not ours to see to, whatever is in there.
        if record.has("keeper")? && record.is_in_sight()? && !record.lives()? {
            settle(state_directory, &record)?;
        }
    }
    Ok(())
}

/// Sees to one.
pub fn settle(state_directory: &Path, record: &Record) -> Result<()> {
    // Somebody else may see to it, or start it again.
    let Some(record) = record.lock()? else { return Ok(()) };
    if !record.has("keeper")? {
        return Ok(());
    }
    debug!("{} has no keeper any more", record.id());
    if record.has("started")? && !record.has("status")? {
        record.write("ended", time::now())?;
        record.write("status", KILLED)?; // it has died with its keeper
    }
    if let Err(error) = clear(state_directory, &record) {
        warn!("left by a keeper that was killed: {error:#}");
    }
    Ok(())
}

fn clear(state_directory: &Path, record: &Record) -> Result<()> {
    groups::clear(record.id())?;
    if remains::is_mounted_somewhere(record.directory())? {
        warn!("{} belongs to a container that outlived its keeper", record.directory().display());
        return Ok(());
    }
    record.forget("pid")?;
    record.forget("attach")?;
    match record.has("remove")? {
        true => unfinished::remove(state_directory, record),
        false => record.forget("keeper"),
    }
}
