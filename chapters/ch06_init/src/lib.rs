//! Chapter 6: a process 1 that does its duty, and a terminal of the container's own.
//!
//! The modules stand in the order to read them.

pub mod init;
pub mod filesystems;
pub mod tmpfs;
pub mod surroundings;
pub mod pty;
pub mod worker;
pub mod raw;
pub mod relay;
pub mod carriers;
pub mod pipes;
pub mod streams;
