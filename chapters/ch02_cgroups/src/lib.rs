//! Chapter 2: limits. How much memory, processor time and how many processes a container may use.
//!
//! Read in this order: [`limits`] are the user's words, checked; [`mountinfo`] tells where the
//! kernel's cgroup files are; [`v1`] and [`v2`] know what is written to which file; [`cgroup`] makes the
//! directory, writes, joins and cleans up.

pub mod cgroup;
pub mod limits;
pub mod mountinfo;
pub mod v1;
pub mod v2;
