//! Chapter 2: limits. How much memory, processor time and how many processes a container may use.
//!
//! The modules stand in the order to read them. [`limits`] are the user's words, checked. [`files`] are the kernel's,
//! and a [`lock`] says whose they are. [`v1`] and [`v2`] know what is written to which, [`mountinfo`] and [`hierarchy`]
//! find them on this host, and [`cgroup`] makes the directory, writes, joins and cleans up.

pub mod limits;
pub mod files;
pub mod lock;
pub mod v1;
pub mod v2;
pub mod version;
pub mod mountinfo;
pub mod hierarchy;
pub mod cgroup;
