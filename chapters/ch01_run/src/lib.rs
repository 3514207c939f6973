//! Chapter 1: a process in namespaces of its own, and all that starting and ending it well takes.
//!
//! The modules stand in the order to read them. Those that others need come first: what is said when something
//! fails, and to whom. [`child`] is the heart: it makes the process.

pub mod errors;
pub mod messages;
pub mod mounts;
pub mod namespaces;
pub mod id;
pub mod options;
pub mod signals;
pub mod inherited;
pub mod descriptors;
pub mod exec;
pub mod child;
pub mod input;
pub mod terminal;
pub mod wait;
