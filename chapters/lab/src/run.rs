//! Chapter 1: a process in namespaces of its own, started exactly as asked, and ended with its status.

mod bad_input;
mod command;
mod host;
mod kill;
mod namespaces;
mod signals;
mod surroundings;
mod terminal;

use crate::Check;

pub(crate) const CHECKS: &[&[Check]] = &[
    namespaces::CHECKS,
    command::CHECKS,
    surroundings::CHECKS,
    signals::CHECKS,
    terminal::CHECKS,
    kill::CHECKS,
    host::CHECKS,
    bad_input::CHECKS,
];
