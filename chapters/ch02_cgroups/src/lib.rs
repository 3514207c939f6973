//! Chapter 2: limits. How much memory, processor time and how many processes a container may use.
//!
//! Read in this order: [`limits`] are the user's words, checked; [`mountinfo`] and [`hierarchy`] find the
//! kernel's cgroup files; [`v1`] and [`v2`] know what is written to which; [`cgroup`] makes the directory,
//! writes, joins and cleans up, with a [`lock`] that says whose it is.

pub mod cgroup;
pub mod hierarchy;
pub mod limits;
pub mod lock;
pub mod mountinfo;
pub mod v1;
pub mod v2;
