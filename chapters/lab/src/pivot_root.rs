//! Chapter 3: a root of its own, from an image, with /proc and /dev.

mod bad_root;
mod devices;
mod image;
mod root;
mod tarball;

use std::path::PathBuf;

use anyhow::Result;

use crate::Check;
use crate::runtime::Lab;

pub(crate) const CHECKS: &[&[Check]] =
    &[root::CHECKS, devices::CHECKS, image::CHECKS, tarball::CHECKS, bad_root::CHECKS];

/// Has the runtime make its busybox image, and returns its directory on the host.
pub(crate) fn image(lab: &Lab) -> Result<PathBuf> {
    lab.run(["true"]).finish()?.succeeds()?;
    Ok(lab.state().join("images/busybox"))
}
