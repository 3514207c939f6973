//! Chapter 1: a process in namespaces of its own, and all that starting and ending it well takes.
//!
//! Read in this order: [`namespaces`] makes the process, [`mounts`] gives it its own `/proc`,
//! [`exec`] turns it into the command, [`signals`] and [`terminal`] keep the caller in touch with it;
//! [`inherited`], [`id`] and [`errors`] are small change.

pub mod errors;
pub mod exec;
pub mod id;
pub mod inherited;
pub mod mounts;
pub mod namespaces;
pub mod signals;
pub mod terminal;
