//! Chapter 4: a writable layer over a read-only image, with overlayfs.
//!
//! The modules stand in the order to read them. [`overlay`] is the mount that makes one directory of several, and
//! [`workspace`] the directories of one container.

pub mod overlay;
pub mod workspace;
