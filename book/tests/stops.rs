//! Where a page says that the learner can compile, what has been typed so far compiles; and what has been typed at the
//! end of a chapter passes that chapter's checks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use book::{learner, repo};
use lab::{CannotRun, Chapter};

/// `cargo check` or `cargo build` in a crate of its own, with the versions of this workspace.
fn cargo(verb: &str, files: &BTreeMap<PathBuf, String>, directory: &Path) -> Result<(), String> {
    learner::write(files, directory).unwrap();
    let mut cargo = lab::cargo_as_owner(directory).unwrap();
    cargo.args([verb, "--quiet", "--offline"]);
    cargo.env("CARGO_TARGET_DIR", directory.join("target")).env("CARGO_TERM_COLOR", "never");
    cargo.env_remove("RUSTFLAGS");
    let output = cargo.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// One place for all, so that cargo compiles the crates that a learner's uses only once.
#[test]
fn what_learners_have_typed_compiles_and_passes() {
    let directory = repo::root().join("target/learner");
    let lock = repo::read(&repo::root().join("Cargo.lock")).unwrap();
    repo::write(&directory.join("Cargo.lock"), &lock).unwrap();
    every_stop(&directory);
    every_chapter(&directory);
}

fn every_stop(directory: &Path) {
    let stops = learner::stops().unwrap();
    let mut failures = Vec::new();
    for stop in &stops {
        if let Err(errors) = cargo("check", &stop.files, directory) {
            failures.push(format!("{}: what has been typed so far does not compile:\n{errors}", stop.place));
        }
    }
    println!("{} stops", stops.len());
    for page in Chapter::typed().map(Chapter::page) {
        let of_page: Vec<_> = stops.iter().filter(|stop| stop.page == page).collect();
        if of_page.len() < 3 {
            failures.push(format!("{page}: only {} stops", of_page.len()));
        }
        if !of_page.iter().any(|stop| stop.is_last) {
            failures.push(format!("{page}: no stop after its last code"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn every_chapter(directory: &Path) {
    for chapter in Chapter::typed() {
        let files = learner::complete(chapter).unwrap();
        cargo("build", &files, directory)
            .unwrap_or_else(|errors| panic!("after chapter {}:\n{errors}", chapter.name()));
        // What earlier chapters taught is looked at once more when all is there.
        let failures = grade(&directory.join("target/debug/byhand"), chapter, chapter == Chapter::LAST);
        assert!(failures.is_empty(), "after chapter {}:\n{}", chapter.name(), failures.join("\n\n"));
    }
}

/// The checks that the program fails, of those that its last chapter adds, or of all.
fn grade(program: &Path, chapter: Chapter, all: bool) -> Vec<String> {
    let checks = lab::checks().filter(|check| check.applies_to(chapter) && (all || check.since == chapter));
    let checks = Mutex::new(checks.collect::<Vec<_>>());
    println!("chapter {chapter:?}: {} checks", checks.lock().unwrap().len());
    let failures = Mutex::new(Vec::new());
    let next = || checks.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(check) = next() {
                    match check.carry_out(chapter, program) {
                        Ok(()) => {}
                        Err(error) if error.is::<CannotRun>() => println!("{}: skipped: {error}", check.id),
                        Err(error) => failures.lock().unwrap().push(format!("{}: {error:#}", check.id)),
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}
