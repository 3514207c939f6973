//! Chapter 2: limits. How much memory, processor time and how many processes a container may use.
//!
//! The modules stand in the order to read them. [`numbers`] and [`limits`] are the user's words, checked; [`files`] are the
//! kernel's. [`v2`] and [`v1`] know what is written to which, [`mountinfo`] and [`hierarchy`] find them on this host, and a
//! [`group`] is a directory there. [`lock`] and [`rmdir`] see to what is left, and [`cgroup`] tells it all in order.

pub mod numbers;
pub mod limits;
pub mod files;
pub mod busy;
pub mod v2;
pub mod v1;
pub mod cpuset;
pub mod version;
pub mod mountinfo;
pub mod hierarchy;
pub mod lock;
pub mod walk;
pub mod rmdir;
pub mod group;
pub mod cgroup;
