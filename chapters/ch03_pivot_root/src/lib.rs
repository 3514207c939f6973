//! Chapter 3: a root of its own. The container sees a small image and nothing of the host's files.
//!
//! The modules stand in the order to read them. [`rootfs`] makes a directory the container's root, and [`devices`] a
//! `/dev` in it. [`state`] says where our files are on the host, [`removal`] how they go again. [`tarball`] unpacks an
//! image there, or [`image`] makes one of the host's busybox.

pub mod rootfs;
pub mod devices;
pub mod state;
pub mod removal;
pub mod tarball;
pub mod image;
