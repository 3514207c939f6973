//! Chapter 8: images in layers, which come and go.

mod archives;
mod commit;
mod hostile;
mod layers;
mod pull;
mod push;
mod running;
mod store;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::checks::check::Check;
use crate::machine::tool;
use crate::trial::oci::Image;
use crate::trial::outcome::Outcome;
use crate::trial::registry::skopeo;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[&[Check]] = &[
    running::CHECKS,
    store::CHECKS,
    archives::CHECKS,
    layers::CHECKS,
    commit::CHECKS,
    pull::CHECKS,
    push::CHECKS,
    hostile::CHECKS,
];

/// Has the runtime load an image from a file, under this name.
pub(super) fn load(lab: &Lab, image: &Image, name: &str) -> Result<Outcome> {
    let file = lab.path("loaded.tar");
    image.write_archive(&file, name)?;
    let outcome = lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?;
    outcome.succeeds().with_context(|| format!("loading the image that the check has made, {name}"))?;
    Ok(outcome)
}

/// Runs somebody else's program, which is to succeed, and returns what it prints. Without it, the check cannot be made.
fn other(program: &str, words: &[&str]) -> Result<Vec<u8>> {
    let mut command = if program == "skopeo" { skopeo() } else { Command::new(program) };
    tool::run(command.args(words).env("TMPDIR", "/tmp"), program, program)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}
