// ANCHOR: head
//! Chapter 4: a writable layer over a read-only image, with overlayfs.
//!
//! There is one module, [`workspace`]: the directories of one container, and the mount that joins them.
// ANCHOR_END: head

// ANCHOR: modules
pub mod workspace;
// ANCHOR_END: modules
