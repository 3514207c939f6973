//! Chapter 4, first part: a writable layer over a read-only image, with aufs, as Docker first did it.
//!
//! There is one module, [`workspace`]: the directories of one container, the mount on the host that joins them,
//! and how it is undone without losing anybody's data.

pub mod workspace;
