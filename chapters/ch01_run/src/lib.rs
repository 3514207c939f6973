//! Chapter 1: a process in namespaces of its own, and all that starting and ending it well takes.
//!
//! The modules stand in the order to read them. Those that others need come first: what is said when something
//! fails, and to whom. [`child`] is the heart: it makes the process and waits for it.

pub mod errors;
pub mod messages;
pub mod options;
pub mod namespaces;
pub mod signals;
pub mod inherited;
pub mod id;
pub mod input;
pub mod terminal;
pub mod child;
pub mod mounts;
pub mod descriptors;
pub mod exec;
