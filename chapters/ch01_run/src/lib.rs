// ANCHOR: head
//! Chapter 1: a process in namespaces of its own, and all that starting and ending it well takes.
//!
//! Read in this order: [`namespaces`] makes the process, [`mounts`] gives it its own `/proc`,
//! [`exec`] turns it into the command, [`signals`] and [`terminal`] keep the caller in touch with it;
//! [`inherited`], [`id`] and [`errors`] are small change.
// ANCHOR_END: head

// ANCHOR: mod_errors
pub mod errors;
// ANCHOR_END: mod_errors
// ANCHOR: mod_exec
pub mod exec;
// ANCHOR_END: mod_exec
// ANCHOR: mod_id
pub mod id;
// ANCHOR_END: mod_id
// ANCHOR: mod_inherited
pub mod inherited;
// ANCHOR_END: mod_inherited
// ANCHOR: mod_mounts
pub mod mounts;
// ANCHOR_END: mod_mounts
// ANCHOR: mod_namespaces
pub mod namespaces;
// ANCHOR_END: mod_namespaces
// ANCHOR: mod_signals
pub mod signals;
// ANCHOR_END: mod_signals
// ANCHOR: mod_terminal
pub mod terminal;
// ANCHOR_END: mod_terminal
