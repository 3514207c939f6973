//! Chapter 5: volumes, data of the host that a container works on and that outlives it.
//!
//! The modules stand in the order to read them. [`spec`] is what `-v` says, and [`read_only`] what `:ro` takes. [`paths`]
//! follows a path as the container will, [`target`] finds the place for a volume there, and [`volumes`] mounts them all.

pub mod spec;
pub mod read_only;
pub mod paths;
pub mod target;
pub mod volumes;
