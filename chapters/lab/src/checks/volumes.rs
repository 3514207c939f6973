//! Chapter 5: volumes, data of the host that a container works on and that outlives it.

mod data;
mod read_only;
pub(crate) mod sources;
mod specs;
mod targets;

use crate::checks::check::Check;

pub(crate) const CHECKS: &[&[Check]] = &[data::CHECKS, targets::CHECKS, read_only::CHECKS, specs::CHECKS];
