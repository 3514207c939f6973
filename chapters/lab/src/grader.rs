//! `cargo lab`: the commands, and the grading behind them.
//!
//! `command` is what a reader asks for, `grade` carries many checks out, `one` a single one, in a `cell` and a `sandbox`
//! that a wrong runtime does not get out of; `show` and `book` tell what came of them.

pub(crate) mod book;
pub(crate) mod caller;
pub(crate) mod checkpoint;
pub(crate) mod cell;
pub(crate) mod command;
pub(crate) mod doctor;
mod forwarding;
pub(crate) mod grade;
pub(crate) mod hint;
pub(crate) mod interrupt;
pub(crate) mod new;
pub(crate) mod one;
pub(crate) mod reading;
pub(crate) mod report;
pub(crate) mod sandbox;
pub(crate) mod show;
pub(crate) mod stops;
pub(crate) mod suite;
pub(crate) mod verdict;
pub(crate) mod watch;
