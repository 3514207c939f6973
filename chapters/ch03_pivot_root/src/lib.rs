// ANCHOR: head
//! Chapter 3: a root of its own. The container sees a small image and nothing of the host's files.
//!
//! Read in this order: [`state`] says where our files are, [`image`] makes the busybox image there,
//! [`tarball`] unpacks one instead, [`rootfs`] makes it the container's root.
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
