//! `prune`: away with all that nobody needs.

use std::io::{Write, stderr, stdin};
use std::path::Path;

use anyhow::{Context, Result};
use ch03_pivot_root::{removal, state};
use ch07_lifecycle::common::Common;
use ch07_lifecycle::output;

use crate::disk::usage;
use crate::garbage::{InUse, Needed, Waste};
use crate::image::Image;
use crate::store::Store;
use crate::{anonymous, shown};

/// What `prune` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images that have a name, too, if no container uses them
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// All that `prune` does, in order.
pub fn prune(args: &Args) -> Result<u8> {
    args.common.start()?;
    if !args.force && !is_sure(args.all)? {
        return Ok(0);
    }
    let state = state::root()?;
    let store = Store::open(&state)?;
    let _lock = store.alone()?;
    let used = InUse::of(&state)?;
    let (rows, broken) = shown::rows(&store)?;
    let (mut staying, mut going) = (Vec::new(), Vec::new());
    for row in &rows {
        let is_used = used.images.contains_key(&row.image.digest);
        let stays = is_used || (row.name.is_some() && !args.all);
        let image = &row.image;
        if stays {
            staying.push(image)
        } else {
            going.push(image)
        }
        if let Some(name) = row.name.as_ref().filter(|_| !stays) {
            store.untag(name)?;
            output::print_line(&format!("untagged: {name}"))?;
        }
    }
    // A name that leads to no whole image keeps nothing.
    for name in broken.iter().filter(|_| args.all) {
        store.untag(name)?;
        output::print_line(&format!("untagged: {name}"))?;
    }
    going.dedup_by_key(|image| image.digest); // one with two names
    let reclaimed = sweep(&store, &staying, &going, &used)? + sweep_volumes(&state)?;
    output::print_line(&format!("Total reclaimed space: {}", shown::size(reclaimed)))?;
    Ok(0)
}

/// Manifests first: see [`crate::garbage`].
fn sweep(store: &Store, staying: &[&Image], going: &[&Image], used: &InUse) -> Result<u64> {
    let mut reclaimed = 0;
    for image in going {
        reclaimed += store.take_away(&Waste::Blob(image.digest))?;
        output::print_line(&format!("deleted: {}", image.id()))?;
    }
    for waste in store.waste(&Needed::by(staying.iter().copied(), used))? {
        reclaimed += store.take_away(&waste)?;
    }
    Ok(reclaimed)
}

/// Those that images asked for, and whose containers are gone.
fn sweep_volumes(state_directory: &Path) -> Result<u64> {
    let mut reclaimed = 0;
    for volume in anonymous::waste(state_directory)? {
        reclaimed += usage(&volume)?;
        removal::remove_tree(&volume)?;
        output::print_line(&format!("deleted: {}", volume.display()))?;
    }
    Ok(reclaimed)
}

fn is_sure(all: bool) -> Result<bool> {
    let which = if all { "all images that no container uses" } else { "all images without a name" };
    let question = format!(
        "WARNING! This removes {which}, what no image needs, and volumes without a container.\nAre you sure? [y/N] "
    );
    stderr().write_all(question.as_bytes()).context("asking")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("reading the answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
