//! The commands that this chapter tells anew, and its own.

pub mod connect;
pub mod inspect;
pub mod network;
pub mod port;
pub mod ps;
pub mod rename;
pub mod run;
pub mod start;
