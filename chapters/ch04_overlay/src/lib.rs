//! Chapter 4: a writable layer over a read-only image, with overlayfs.
//!
//! The modules stand in the order to read them. [`overlay`] is the mount that makes one directory of several, and
//! [`volatile`] one that asks nothing of the disk. [`workspace`] has the directories of one container, and [`remains`]
//! takes away those of runs that were killed.

pub mod overlay;
pub mod volatile;
pub mod workspace;
pub mod remains;
