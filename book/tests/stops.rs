//! Where a page says that the learner can compile, what has been typed so far compiles.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use book::{learner, repo};

/// `cargo check` in a crate of its own, with the versions of this workspace.
fn check(files: &BTreeMap<PathBuf, String>, directory: &Path) -> Result<(), String> {
    learner::write(files, directory).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline"]).current_dir(directory);
    cargo.env("CARGO_TARGET_DIR", directory.join("target")).env("CARGO_TERM_COLOR", "never");
    cargo.env_remove("RUSTFLAGS");
    repo::as_owner(&mut cargo, directory).unwrap();
    let output = cargo.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// One place for all, so that cargo compiles the crates that a learner's uses only once.
#[test]
fn what_learners_have_typed_compiles() {
    let directory = repo::root().join("target/learner");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(repo::root().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    every_stop(&directory);
    every_chapter(&directory);
}

fn every_stop(directory: &Path) {
    let stops = learner::stops().unwrap();
    let mut failures = Vec::new();
    for stop in &stops {
        if let Err(errors) = check(&stop.files, directory) {
            failures.push(format!("{}: what has been typed so far does not compile:\n{errors}", stop.place));
        }
    }
    println!("{} stops", stops.len());
    for (page, _) in learner::TYPED {
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
    for chapter in 1..=learner::TYPED.len() {
        let files = learner::complete(chapter).unwrap();
        check(&files, directory).unwrap_or_else(|errors| panic!("after chapter {chapter}:\n{errors}"));
    }
}
