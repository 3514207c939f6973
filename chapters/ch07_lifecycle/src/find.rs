//! Which container is meant: its id, the beginning of its id, or its name.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ch02_cgroups::lock::is_id;

use crate::names;
use crate::record::{self, Record};

/// The container that `word` means, in Docker's order: a whole id, a name, the beginning of one id.
pub fn one(state_directory: &Path, word: &OsStr) -> Result<Record> {
    let record = meant_by(state_directory, word)?;
    record.ensure_in_sight()?;
    Ok(record)
}

/// The same, even if something is mounted on its record.
pub fn meant_by(state_directory: &Path, word: &OsStr) -> Result<Record> {
    let word = word.to_str().with_context(|| format!("No such container: {}", word.display()))?;
    if is_id(OsStr::new(word)) {
        let record = Record::open(state_directory, word);
        if record.has("")? {
            return Ok(record);
        }
    }
    if let Ok(name) = names::parse(word)
        && let Some(id) = names::look_up(state_directory, &name)?
        && is_id(OsStr::new(&id))
    {
        let record = Record::open(state_directory, &id);
        if record.has("")? {
            return Ok(record);
        }
    }
    let mut found = record::all(state_directory)?;
    found.retain(|record| !word.is_empty() && record.id().starts_with(word));
    match found.len() {
        0 => bail!("No such container: {word}"),
        1 => Ok(found.remove(0)),
        _ => bail!("{word} is the beginning of more than one container's id"),
    }
}
