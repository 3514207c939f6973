//! Chapter 5: volumes. Data of the host that a container works on and that stays when it ends.
//!
//! There is one module, [`volumes`]: what `-v` says, and the bind mounts that do it.

pub mod volumes;
