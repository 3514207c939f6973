//! The machine: what its kernel says, and a few things that one can ask of it.

pub(crate) mod aufs;
pub(crate) mod hierarchy;
pub(crate) mod host;
pub(crate) mod lock;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod snapshot;
pub(crate) mod tool;
