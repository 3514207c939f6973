//! What names stand for, on small sources.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use items::source::{Lines, Source};

const CHILD: &str = r#"//! A process: clone(2).
//!
//! And more.

use std::io;

use crate::messages;
use crate::signals::{self, Held};
use nix::sched::clone;

// Why so much.
/// Enough.
const STACK: usize = 1024;

/// A child.
#[derive(Debug)]
pub struct Child {
    pid: u32, // its number
}

/// What it does.
impl Child {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid

    }

    // Not for everyone.
    fn start(&mut self) {}

    const N: u8 = 1;
}

impl Child {
    fn wait(self) {}
}

impl<'a> From<&'a str> for Child {
    fn from(_: &'a str) -> Child { Child { pid: 0 } }
}

impl From<u8> for Child {
    fn from(_: u8) -> Child { Child { pid: 0 } }
}

impl std::fmt::Display for Child {
    fn fmt(&self) {}
}

macro_rules! twice { ($a:expr) => { ($a, $a) } }

thread_local!(static X: u8 = 0);

pub mod inner;

#[cfg(test)]
mod tests {
    fn pid() {}
}
"#;

fn source(text: &str) -> Source {
    Source::parse("chapters/ch01_run/src/child.rs", text).unwrap()
}

/// What an include of these names shows.
fn shown(text: &str, names: &[&str]) -> String {
    let source = source(text);
    let lines: Lines = names.iter().flat_map(|name| source.lines_of(name).unwrap()).collect();
    source.text(&lines)
}

#[test]
fn an_item_has_its_docs_attributes_and_comments() {
    assert_eq!(shown(CHILD, &["STACK"]), "// Why so much.\n/// Enough.\nconst STACK: usize = 1024;\n");
    let child = "/// A child.\n#[derive(Debug)]\npub struct Child {\n    pid: u32, // its number\n}\n";
    assert_eq!(shown(CHILD, &["Child"]), child);
    assert_eq!(shown(CHILD, &["twice"]), "macro_rules! twice { ($a:expr) => { ($a, $a) } }\n");
    assert_eq!(shown(CHILD, &["thread_local!"]), "thread_local!(static X: u8 = 0);\n");
    assert_eq!(shown(CHILD, &["mod inner"]), "pub mod inner;\n");
}

#[test]
fn a_method_comes_within_its_frame() {
    let start = "/// What it does.\nimpl Child {\n    // Not for everyone.\n    fn start(&mut self) {}\n}\n";
    assert_eq!(shown(CHILD, &["Child::start"]), start);
    assert_eq!(shown(CHILD, &["Child::wait"]), "impl Child {\n    fn wait(self) {}\n}\n");
}

#[test]
fn methods_of_one_impl_share_the_frame() {
    let both = "/// What it does.\nimpl Child {\n    // Not for everyone.\n    fn start(&mut self) {}\n\n    const N: u8 = 1;\n}\n";
    assert_eq!(shown(CHILD, &["Child::N", "Child::start"]), both);
    // Of two blocks, each has its own.
    let apart =
        "/// What it does.\nimpl Child {\n    const N: u8 = 1;\n}\n\nimpl Child {\n    fn wait(self) {}\n}\n";
    assert_eq!(shown(CHILD, &["Child::N", "Child::wait"]), apart);
}

#[test]
fn a_whole_impl() {
    let source = source(CHILD);
    let all = source.lines_of("impl Child").unwrap();
    let text = source.text(&all);
    assert!(text.starts_with("/// What it does.\nimpl Child {\n    /// Its number.\n"), "{text}");
    assert!(text.ends_with("    const N: u8 = 1;\n}\n\nimpl Child {\n    fn wait(self) {}\n}\n"), "{text}");
    // An empty line within a method stays.
    assert!(text.contains("        self.pid\n\n    }\n"), "{text}");
}

#[test]
fn an_impl_of_a_trait() {
    let display = "impl std::fmt::Display for Child {\n    fn fmt(&self) {}\n}\n";
    assert_eq!(shown(CHILD, &["impl Display for Child"]), display);
    assert_eq!(shown(CHILD, &["impl std::fmt::Display for Child"]), display);
    let one = shown(CHILD, &["impl From<u8> for Child"]);
    assert_eq!(one, "impl From<u8> for Child {\n    fn from(_: u8) -> Child { Child { pid: 0 } }\n}\n");
    let both = source(CHILD).lines_of("impl From for Child").unwrap();
    assert_eq!(both.len(), 6);
}

#[test]
fn heads() {
    let docs = "//! A process: clone(2).\n//!\n//! And more.\n\nuse std::io;\n\n";
    let uses = "use crate::messages;\nuse crate::signals::{self, Held};\nuse nix::sched::clone;\n";
    assert_eq!(shown(CHILD, &["head"]), format!("{docs}{uses}"));
    assert_eq!(
        shown(CHILD, &["head without use crate::signals and use nix"]),
        format!("{docs}use crate::messages;\n")
    );
    // All below it, but not what only begins alike.
    assert_eq!(shown(CHILD, &["use crate"]), "use crate::messages;\nuse crate::signals::{self, Held};\n");
    assert!(source(CHILD).lines_of("use crate::mess").is_err());
    assert_eq!(shown("//! Only docs.\n\nfn f() {}\n", &["head"]), "//! Only docs.\n");
}

#[test]
fn a_use_that_says_just_this_comes_before_all_below_it() {
    let text = "use crate::{a, b};\nuse crate::c;\n";
    assert_eq!(shown(text, &["use crate"]), "use crate::{a, b};\n");
}

#[test]
fn what_is_missing_is_told_with_what_there_is() {
    let error = |name| source(CHILD).lines_of(name).unwrap_err().to_string();
    assert_eq!(
        error("Child::stop"),
        "chapters/ch01_run/src/child.rs has no \"Child::stop\"; there are: head, STACK, Child, Child::pid, \
         Child::start, Child::N, Child::wait, impl From for Child, impl From for Child, impl Display for Child, \
         twice, thread_local!, mod inner"
    );
    assert_eq!(
        error("use crate::child"),
        "chapters/ch01_run/src/child.rs has no \"use crate::child\"; there are: head, use std::io, \
         use crate::messages, use crate::signals, use nix::sched::clone"
    );
    assert!(error("head without STACK").contains("only `use` lines"));
    assert!(error("head without use crate::child").contains("has no \"use crate::child\""));
    assert!(error("header").contains("has no \"header\""));
}

#[test]
fn tests_are_not_taught() {
    let source = source(CHILD);
    assert!(source.lines_of("mod tests").is_err());
    let text = source.text(&source.taught());
    assert!(text.ends_with("pub mod inner;\n"), "{text}");
    // The rest is the file itself.
    assert_eq!(text, CHILD.split("\n#[cfg(test)]").next().unwrap());
}

#[test]
fn a_comment_between_empty_lines_belongs_to_nothing() {
    assert!(source(CHILD).strays().is_empty());
    let text =
        "fn f() {}\n\n// Alone.\n\nimpl T {\n    // Alone too.\n\n    fn g() {}\n    // At the end.\n}\n";
    assert_eq!(source(text).strays().into_iter().collect::<Vec<_>>(), [2, 5, 8]);
}

#[test]
fn what_is_no_rust_has_a_place() {
    let error = Source::parse("a.rs", "fn f() {}\nfn {}\n").unwrap_err().to_string();
    assert!(error.starts_with("a.rs:2: this is no Rust: "), "{error}");
}
