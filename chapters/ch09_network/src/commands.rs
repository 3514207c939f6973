//! The commands that this chapter tells anew.

pub mod run;
pub mod start;
