//! A name for each container: random(4).

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// Returns 12 random hex digits, as Docker shows them.
///
/// Random and not counted: two runs that start at the same moment need nothing from each other to
/// get different names.
pub fn random() -> Result<String> {
    let mut bytes = [0; 6];
    File::open("/dev/urandom")
        .and_then(|mut urandom| urandom.read_exact(&mut bytes))
        .context("reading /dev/urandom for a container id")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
