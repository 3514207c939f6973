//! What makes and checks the book, so that nothing in it is typed from memory.
//!
//! [`page`] reads the Markdown. [`transcript`] types a page's console blocks into real terminals ([`terminal`]) on a
//! small machine of their own ([`stage`]) and compares what appears. [`generated`] makes drawings and diffs, and
//! [`recording`] what moves in the README. [`learner`] puts the code of the pages together as a learner types it, by what
//! the captions say ([`draft`]), and [`measure`] counts it. [`sources`] has the chapters' code, [`repo`] knows where
//! things are.

pub mod draft;
pub mod generated;
pub mod habits;
pub mod learner;
pub mod markdown;
pub mod measure;
pub mod messages;
pub mod page;
pub mod recording;
pub mod repo;
pub mod sources;
pub mod stage;
pub mod sudo;
pub mod terminal;
pub mod transcript;
