//! Rust in the book by the names of its items, so that the code carries no marks of the book.
//!
//! [`source`] takes a file apart, [`mod@include`] finds what a page asks for, [`written`] and [`typed`] know what a learner
//! has by then, [`stop`] says how to try it, and [`page`] puts the code into the page and says above it where it goes.
//! [`console`] makes terminals of console blocks, and [`glossary`] lets links to it say what a word means. The program is an
//! mdBook preprocessor.

pub mod console;
pub mod glossary;
pub mod include;
pub mod page;
pub mod source;
pub mod stop;
pub mod title;
pub mod typed;
pub mod written;
