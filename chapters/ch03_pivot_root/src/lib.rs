// ANCHOR: head
//! Chapter 3: a root of its own. The container sees a small image and nothing of the host's files.
//!
//! Read in this order: [`rootfs`] makes a directory the container's root; [`state`] says where our files are on
//! the host; [`tarball`] unpacks an image there, or [`image`] makes one of the host's busybox.
// ANCHOR_END: head

// ANCHOR: mod_image
pub mod image;
// ANCHOR_END: mod_image
// ANCHOR: mod_rootfs
pub mod rootfs;
// ANCHOR_END: mod_rootfs
// ANCHOR: mod_state
pub mod state;
// ANCHOR_END: mod_state
// ANCHOR: mod_tarball
pub mod tarball;
// ANCHOR_END: mod_tarball
