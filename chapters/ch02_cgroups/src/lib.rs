// ANCHOR: head
//! Chapter 2: limits. How much memory, processor time and how many processes a container may use.
//!
//! Read in this order: [`limits`] are the user's words, checked; [`mountinfo`] and [`hierarchy`] find the
//! kernel's cgroup files; [`v1`] and [`v2`] know what is written to which; [`cgroup`] makes the directory,
//! writes, joins and cleans up, with a [`lock`] that says whose it is.
// ANCHOR_END: head

// ANCHOR: mod_cgroup
pub mod cgroup;
// ANCHOR_END: mod_cgroup
// ANCHOR: mod_hierarchy
pub mod hierarchy;
// ANCHOR_END: mod_hierarchy
// ANCHOR: mod_limits
pub mod limits;
// ANCHOR_END: mod_limits
// ANCHOR: mod_lock
pub mod lock;
// ANCHOR_END: mod_lock
// ANCHOR: mod_mountinfo
pub mod mountinfo;
// ANCHOR_END: mod_mountinfo
// ANCHOR: mod_versions
pub mod v1;
pub mod v2;
// ANCHOR_END: mod_versions
