//! Chapter 2: limits, in force before the command's first instruction, and gone with the container.

mod bad_limits;
mod containers;
mod cpu;
mod life;
mod memory;
mod others;
mod pids;

use crate::checks::check::Check;

pub(crate) const CHECKS: &[&[Check]] =
    &[memory::CHECKS, cpu::CHECKS, pids::CHECKS, life::CHECKS, bad_limits::CHECKS, others::CHECKS];
