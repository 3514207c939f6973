//! What makes and checks the book, so that nothing in it is typed from memory.
//!
//! [`page`] reads the Markdown. [`transcript`] types a page's console blocks into real terminals ([`terminal`]) on a
//! small machine of their own ([`stage`]) and compares what appears. [`repo`] knows where things are.

pub mod page;
pub mod repo;
pub mod stage;
pub mod sudo;
pub mod terminal;
pub mod transcript;
