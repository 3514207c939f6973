//! Chapter 3: a root of its own. The container sees a small image and nothing of the host's files.
//!
//! The modules stand in the order to read them. [`rootfs`] makes a directory the container's root, and [`devices`] a
//! `/dev` in it. [`busybox`] makes such a directory of the host's busybox, and [`whole`] sees to it that there is all of
//! it or nothing; what must go again, [`removal`] takes away. [`state`] says where our files are on the host.
//! [`tarball`] unpacks somebody else's image there, and [`image`] chooses between the two.

pub mod rootfs;
pub mod devices;
pub mod busybox;
pub mod removal;
pub mod whole;
pub mod state;
pub mod tarball;
pub mod image;
