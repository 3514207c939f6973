//! Chapter 6: a process 1 that does its duty, a terminal of the container's own, and the rest of /dev and /sys.

mod duty;
mod surroundings;
pub(super) mod terminal;

use crate::checks::check::Check;

pub(crate) const CHECKS: &[&[Check]] = &[terminal::CHECKS, duty::CHECKS, surroundings::CHECKS];
