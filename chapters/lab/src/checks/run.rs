//! Chapter 1: a process in namespaces of its own, started exactly as asked, and ended with its status.

mod bad_input;
mod early;
mod command;
mod jobs;
mod kill;
mod namespaces;
mod signals;
mod surroundings;
mod terminal;
mod untouched;

use crate::checks::check::Check;

pub(crate) const CHECKS: &[&[Check]] = &[
    namespaces::CHECKS,
    command::CHECKS,
    surroundings::CHECKS,
    signals::CHECKS,
    early::CHECKS,
    terminal::CHECKS,
    jobs::CHECKS,
    kill::CHECKS,
    untouched::CHECKS,
    bad_input::CHECKS,
];
