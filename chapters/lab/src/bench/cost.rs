//! What building the chapters takes, from nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::place::Place;
use crate::chapter::{Chapter, repository};
use crate::grader::caller::{self, Caller};

/// How many crates, and how many seconds.
#[derive(Debug)]
pub(crate) struct Cost {
    /// Those that the last chapter consists of and needs.
    pub(crate) crates_of_last: usize,
    pub(crate) crates_of_all: usize,
    pub(crate) debug: f64,
    pub(crate) release: f64,
}

/// What an earlier benchmark found, from its results.
pub(crate) fn last(results: &Path) -> Option<Cost> {
    let results: Value = serde_json::from_str(&fs::read_to_string(results).ok()?).ok()?;
    let build = results.get("build")?;
    Some(Cost {
        crates_of_last: build["crates_last"].as_u64()? as usize,
        crates_of_all: build["crates_all"].as_u64()? as usize,
        debug: build["debug_s"].as_f64()?,
        release: build["release_s"].as_f64()?,
    })
}

/// Builds the last chapter twice, into directories of its own.
pub(crate) fn measure(place: &Place) -> Result<Cost> {
    Ok(Cost {
        crates_of_last: crates(&["-p", Chapter::LAST_TYPED.package(), "-e", "normal"])?,
        crates_of_all: crates(&["--workspace"])?,
        debug: build(place, "debug", &[])?,
        release: build(place, "release", &["--release"])?,
    })
}

fn build(place: &Place, name: &str, arguments: &[&str]) -> Result<f64> {
    let repository = repository();
    let user = caller::user_for(&repository)?;
    let target = place.path(&format!("build-{name}"));
    fs::create_dir(&target)?;
    if let Some((uid, gid)) = user.as_ref().map(Caller::ids) {
        std::os::unix::fs::chown(&target, Some(uid), Some(gid))?;
    }
    let mut cargo = caller::cargo(&repository, user.as_ref());
    cargo
        .args(["build", "--quiet", "--locked", "--bin", Chapter::LAST_TYPED.package(), "--target-dir"])
        .arg(&target);
    let began = Instant::now();
    let status = cargo.args(arguments).status().context("running cargo")?;
    ensure!(status.success(), "cargo build failed");
    Ok(began.elapsed().as_secs_f64())
}

fn crates(arguments: &[&str]) -> Result<usize> {
    let repository = repository();
    let mut cargo = caller::cargo(&repository, caller::user_for(&repository)?.as_ref());
    let tree = cargo.args(["tree", "--locked", "--prefix", "none"]).args(arguments).output();
    let tree = tree.context("running cargo tree")?;
    let text = String::from_utf8_lossy(&tree.stdout).into_owned();
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(" (").next()).collect();
    Ok(names.into_iter().filter(|name| !name.is_empty()).count())
}
