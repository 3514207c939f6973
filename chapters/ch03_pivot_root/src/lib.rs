//! Chapter 3: a root of its own. The container sees a small image and nothing of the host's files.
//!
//! Read in this order: [`state`] says where our files are, [`image`] makes the busybox image there,
//! [`tarball`] unpacks one instead, [`rootfs`] makes it the container's root.

pub mod image;
pub mod rootfs;
pub mod state;
pub mod tarball;
