//! Faults: every system call of a run fails once, and every process of the runtime is killed at each of them.
//!
//! Nothing here knows what a chapter does. The list of calls comes from a trace of the run itself, so a new step,
//! or a new chapter, is covered on the day it is written.

mod calls;
mod commands;
mod data;
mod detached;
mod fail;
mod foreign;
mod full_disk;
mod hostile;
mod images;
mod kill;
mod log;
mod many;
mod network;
mod own_cgroups;
mod scene;
mod tracer;
mod walls;

use crate::checks::check::Check;

/// The checks that let everything go wrong.
pub fn fault_checks() -> impl Iterator<Item = &'static Check> {
    [
        fail::CHECKS,
        kill::CHECKS,
        detached::CHECKS,
        commands::CHECKS,
        full_disk::CHECKS,
        data::CHECKS,
        foreign::CHECKS,
        hostile::CHECKS,
        images::CHECKS,
        network::CHECKS,
        many::CHECKS,
        log::CHECKS,
        walls::CHECKS,
    ]
    .into_iter()
    .flatten()
}
