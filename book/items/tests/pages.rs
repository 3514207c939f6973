//! What stands above the code in a page, and what a wrong include is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::fs;
use std::path::Path;

use items::include::Library;
use items::page::{Pages, Settings};
use tempfile::TempDir;

const CHILD: &str = "//! Docs.\n\nuse a::b;\nuse crate::c;\n\nfn one() {}\n\nimpl T {\n    fn x() {}\n\n    fn y() {}\n}\n\nfn two() {}\n\nfn three() {}\n";

fn repository() -> (TempDir, Library) {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = directory.path().join("chapters").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("ch01_run/src/lib.rs", "//! Docs.\n\npub mod child;\npub mod other;\n");
    write("ch01_run/src/child.rs", CHILD);
    write("ch01_run/src/main.rs", "fn main() {}\n");
    write("ch01_run/src/commands/run.rs", "fn run() {}\n");
    write("ch01_run/examples/bare.rs", "fn bare() {}\n");
    write("ch02_cgroups/src/main.rs", "fn main() {}\n");
    write("ch02_cgroups/src/braces.rs", "fn f() -> &'static str { \"{{#item\" }\n");
    let library = Library::new(directory.path());
    (directory, library)
}

fn settings() -> Settings {
    Settings { repository: Some("https://example.org/r".to_string()), read: vec!["ch03-read".to_string()] }
}

/// The captions of a page, without marks.
fn captions(page: &str) -> Vec<String> {
    let captions = page.lines().filter(|line| line.starts_with("<p class=\"place\">"));
    let plain = |line: &str| -> String {
        let parts = line.split('<').filter_map(|part| Some(part.split_once('>')?.1));
        parts.collect()
    };
    captions.map(plain).collect()
}

/// A block for each group of includes.
fn page(blocks: &[&str]) -> String {
    let block = |items: &&str| format!("```rust\n{{{{#item {items}}}}}\n```\n");
    blocks.iter().map(block).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_block_has_its_file_and_its_place_above_it() {
    let (_directory, library) = repository();
    let mut pages = Pages::new(&library, settings());
    let text =
        pages.fill("ch01-run", "Text.\n\n```rust\n{{#item ch01_run::child::one}}\n```\n\nMore.\n").unwrap();
    assert_eq!(
        text,
        "Text.\n\n\
         <p class=\"place\"><span><code>src/child.rs</code>, a new file</span> <small>ch01_run, line \
         <a href=\"https://example.org/r/blob/main/chapters/ch01_run/src/child.rs#L6\">6</a></small></p>\n\n\
         ```rust\nfn one() {}\n```\n\nMore.\n"
    );
}

#[test]
fn places_in_a_file() {
    let (_directory, library) = repository();
    let mut pages = Pages::new(&library, settings());
    let text = pages.fill(
        "ch01-run",
        &page(&[
            "ch01_run: mod other",
            "ch01_run: mod child",
            "ch01_run::child: head without use crate::c, T::x",
            "ch01_run::child::two",
            "ch01_run::child: use crate::c",
            "ch01_run::child: one, T::y, three",
            "ch01_run::child: one",
            "ch01_run::main::main",
            "ch01_run::commands::run::run",
            "ch01_run::examples::bare::bare",
        ]),
    );
    assert_eq!(
        captions(&text.unwrap()),
        [
            "src/lib.rs, at the end ch01_run, line 4",
            "src/lib.rs, above mod other ch01_run, line 3",
            "src/child.rs, a new file ch01_run, lines 1–3, 8–9",
            "src/child.rs, at the end ch01_run, line 14",
            "src/child.rs, below the use lines ch01_run, line 4",
            "src/child.rs: one below the use lines; y in impl T, after x; three at the end ch01_run, lines 6–8, 11–12, 16",
            "src/child.rs, once more ch01_run, line 6",
            "src/main.rs, in place of what is there ch01_run, line 1",
            "src/commands/run.rs, a new file ch01_run, line 1",
            "src/main.rs, in place of what is there ch01_run, line 1",
        ]
    );
    // From a begun `impl` to below it: two places, though nothing old lies between them.
    let mut again = Pages::new(&library, settings());
    let text =
        again.fill("ch01-run", &page(&["ch01_run::child: T::x", "ch01_run::child: T::y, two"])).unwrap();
    assert!(
        captions(&text)[1].starts_with("src/child.rs: y ")
            && captions(&text)[1].contains("in impl T, after x; two at the end"),
        "{text}"
    );
    let text = pages.fill("ch02-cgroups", &page(&["ch02_cgroups::main::main"])).unwrap();
    assert_eq!(captions(&text), ["src/main.rs, in place of what is there ch02_cgroups, line 1"]);
}

#[test]
fn what_is_read_and_not_typed_has_no_place() {
    let (directory, library) = repository();
    let read = directory.path().join("chapters/ch03_read/src");
    fs::create_dir_all(&read).unwrap();
    fs::write(read.join("a.rs"), "fn a() {}\n").unwrap();
    let mut pages = Pages::new(&library, settings());
    let text = pages.fill("ch03-read", &page(&["ch03_read::a::a"])).unwrap();
    assert_eq!(captions(&text), ["chapters/ch03_read/src/a.rs line 1"]);
    // Nor has the head of a library, for the learner's own has one, nor a page that only shows something again.
    let text = pages.fill("ch01-run", &page(&["ch01_run: head"])).unwrap();
    assert_eq!(captions(&text), ["chapters/ch01_run/src/lib.rs line 1"]);
    let text = pages.fill("appendix", &page(&["ch01_run::child::one"])).unwrap();
    assert_eq!(captions(&text), ["chapters/ch01_run/src/child.rs line 6"]);
}

/// Programs on the way to a chapter's own.
#[test]
fn a_program_takes_the_place_of_another() {
    let (directory, library) = repository();
    let write = |name: &str, text: &str| {
        fs::write(directory.path().join("chapters/ch01_run/examples").join(name), text).unwrap();
    };
    write("one.rs", "//! One.\n\nuse a::b;\n\nfn main() {\n    b();\n}\n\nfn f() {}\n\nfn g() {}\n");
    write(
        "../src/main.rs",
        "//! Three.\n\nuse a::d;\n\nfn main() {\n    d();\n}\n\nfn f() {}\n\nfn h() {}\n",
    );
    write("four.rs", "//! Four.\n\nuse a::b;\n\nfn main() {\n    e();\n}\n\nfn f() {}\n\nfn h() {}\n");
    write("two.rs", "//! Two.\n\nuse a::c;\n\nfn main() {\n    c();\n}\n\nfn f() {}\n\nfn h() {}\n");
    let mut pages = Pages::new(&library, settings());
    let text = pages.fill(
        "ch01-run",
        &page(&[
            "ch01_run::examples::one: head, main",
            "ch01_run::examples::one: f, g",
            // Not all of it: what stays is not shown.
            "ch01_run::examples::two: head, main",
            "ch01_run::examples::two: h",
            "ch01_run::main: docs, use a::d, main",
            // Of what stands above the first item, what changes.
            "ch01_run::examples::four: docs, main",
            "ch01_run::examples::four: use a::b",
        ]),
    );
    assert_eq!(
        captions(&text.unwrap()),
        [
            "src/main.rs, in place of what is there ch01_run, lines 1–7",
            "src/main.rs, at the end ch01_run, lines 9–11",
            "src/main.rs: all above the first item and main in place of those there; g goes ch01_run, lines 1–7",
            "src/main.rs, at the end ch01_run, line 11",
            "src/main.rs: all above the first item and main in place of those there ch01_run, lines 1–7",
            "src/main.rs: the first lines and main in place of those there; use a::d goes ch01_run, lines 1, 5–7",
            "src/main.rs, below the use lines ch01_run, line 3",
        ]
    );
}

#[test]
fn a_chapter_has_pages() {
    let (directory, library) = repository();
    for name in ["ch04_one", "ch04_one_more"] {
        let source = directory.path().join("chapters").join(name).join("src");
        fs::create_dir_all(&source).unwrap();
    }
    let of = |page: &str| library.chapter_of(page);
    assert_eq!(of("ch01-run").as_deref(), Some("ch01_run"));
    assert_eq!(of("ch01-ended-well").as_deref(), Some("ch01_run"));
    assert_eq!(of("ch04-one-less").as_deref(), Some("ch04_one"));
    assert_eq!(of("ch04-one-more").as_deref(), Some("ch04_one_more"));
    assert_eq!(of("ch04-one-more-still").as_deref(), Some("ch04_one_more"));
    assert_eq!(of("ch04-two"), None);
    assert_eq!(of("chapters"), None);
    let mut pages = Pages::new(&library, settings());
    pages.fill("ch01-run", &page(&["ch01_run::child: one"])).unwrap();
    let text = pages.fill("ch01-ended-well", &page(&["ch01_run::child: two"])).unwrap();
    assert_eq!(captions(&text), ["src/child.rs, at the end ch01_run, line 14"]);
}

#[test]
fn stops_are_numbered_through_a_chapter() {
    let (_directory, library) = repository();
    let mut pages = Pages::new(&library, settings());
    let text = "<!-- stop: pid1 -->\n\n<!-- new: one, two -->\n```\n<!-- stop -->\n```\n<!-- stop -->\n";
    let text = pages.fill("ch01-run", text).unwrap();
    assert!(
        text.contains("id=\"stop-1-0\"") && text.contains("cargo lab check 1 --stop 0 --runtime"),
        "{text}"
    );
    assert!(text.contains("```\n<!-- stop -->\n```\n<div class=\"stop\" id=\"stop-1-1\">"), "{text}");
    assert!(!text.contains("new:"), "{text}");
    assert_eq!(text.matches("--stop 1 --runtime").count(), 0, "nothing to grade: {text}");
    let text = pages.fill("ch01-ended-well", "<!-- stop: exit-status -->\n").unwrap();
    assert!(text.contains("--stop 2 --runtime"), "{text}");
    let text = pages.fill("ch02-cgroups", "<!-- stop: memory-limit -->\n").unwrap();
    assert!(text.contains("cargo lab check 2 --stop 1 --runtime"), "{text}");
}

#[test]
fn several_includes_stand_in_the_order_of_the_page() {
    let (_directory, library) = repository();
    let mut pages = Pages::new(&library, settings());
    let text = "```rust\n{{#item ch01_run::child::two}}\n\n{{#item ch01_run::child::one}}\n```\n";
    let text = pages.fill("ch01-run", text).unwrap();
    assert!(text.ends_with("```rust\nfn two() {}\n\nfn one() {}\n```\n"), "{text}");
}

#[test]
fn what_is_wrong_has_page_line_and_reason() {
    let (_directory, library) = repository();
    let error = |text: &str| {
        let mut pages = Pages::new(&library, settings());
        format!("{:#}", pages.fill("ch01-run", text).unwrap_err())
    };
    assert_eq!(
        error("A.\n\n```rust\n{{#item ch01_run::child::four}}\n```\n"),
        "book/src/ch01-run.md:4: chapters/ch01_run/src/child.rs has no \"four\"; \
         there are: head, one, T::x, T::y, two, three"
    );
    assert_eq!(
        error("```rust\n{{#item ch01_run::brother: one}}\n```\n"),
        "book/src/ch01-run.md:2: no module ch01_run::brother: there is no chapters/ch01_run/src/brother.rs, \
         and no chapters/ch01_run/src/brother/mod.rs"
    );
    assert!(
        error("```rust\nfn typed() {}\n```\n").starts_with("book/src/ch01-run.md:2: a block of Rust holds")
    );
    assert!(error("{{#item ch01_run::child::one}}\n").contains("stands in a block of Rust"));
    let both = "```rust\n{{#item ch01_run::child::one}}\n{{#item ch01_run: mod child}}\n```\n";
    assert!(error(both).contains("one block has code of"));
    assert!(
        error("```rust\n{{#item ch02_cgroups::braces::f}}\n```\n").contains("mdBook would take for its own")
    );
    assert!(error("```rust\n```\n").contains("nothing in it"));
}

/// The program, as mdBook calls it.
#[test]
fn the_program_fails_where_a_name_is_missing() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let (directory, _) = repository();
    let book = directory.path().join("book");
    fs::create_dir(&book).unwrap();
    let run = |text: &str| {
        let chapter = format!(
            r#"{{"Chapter": {{"name": "One", "content": {text:?}, "path": "ch01-run.md", "sub_items": []}}}}"#
        );
        let input =
            format!(r#"[{{"root": {book:?}, "config": {{}}}}, {{"items": ["Separator", {chapter}]}}]"#);
        let mut program = Command::new(Path::new(env!("CARGO_BIN_EXE_items")));
        let mut child =
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let good = run("```rust\n{{#item ch01_run::child::one}}\n```\n");
    assert!(good.status.success(), "{good:?}");
    let answer: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    let text = answer["items"][1]["Chapter"]["content"].as_str().unwrap();
    assert!(
        text.contains("src/child.rs") && text.contains("fn one() {}") && !text.contains("href"),
        "{text}"
    );

    let bad = run("```rust\n{{#item ch01_run::child::four}}\n```\n");
    assert_eq!(bad.status.code(), Some(1));
    assert!(bad.stdout.is_empty(), "{bad:?}");
    let told = String::from_utf8_lossy(&bad.stderr);
    assert!(
        told.starts_with("items: book/src/ch01-run.md:2: chapters/ch01_run/src/child.rs has no"),
        "{told}"
    );
}
