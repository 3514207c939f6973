//! Chapter 3: a root of its own, from an image, with /proc and /dev.

mod bad_root;
mod devices;
pub(crate) mod image;
mod root;
mod state;
mod tarball;

use crate::checks::check::Check;

pub(crate) const CHECKS: &[&[Check]] =
    &[root::CHECKS, devices::CHECKS, image::CHECKS, tarball::CHECKS, bad_root::CHECKS, state::CHECKS];
