//! Proof that the checks judge right: runtimes that are wrong in one thing each, and exactly the checks that have to
//! fail for it do.
//!
//! Each is tried on the checks of the chapter that teaches the thing; with LAB_WRONG_ALL in the environment, on those of
//! the chapters before it, too.

#[path = "../wrong/runtime.rs"]
mod runtime;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use lab::{Chapter, Graded, Limits, Plan, grade};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    // By another name, as one check runs it, it has no defect.
    if std::env::args_os().nth(1).is_some_and(|word| word == "run") {
        return runtime::main();
    }
    let mut arguments = Arguments::from_args();
    // Most of the time is spent in waiting for what does not come.
    arguments.test_threads.get_or_insert(4);
    let trials = expected().into_iter().map(|wrong| {
        Trial::test(wrong.name.clone(), move || {
            judged(&wrong).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    lab::as_root(&arguments, trials.collect())
}

/// A wrong runtime and the checks that find it.
struct Wrong {
    name: String,
    red: BTreeSet<String>,
}

/// What wrong/red.txt says: `[NAME]`, and below it checks; `#` begins a comment.
fn expected() -> Vec<Wrong> {
    let mut all: Vec<Wrong> = Vec::new();
    for line in include_str!("../wrong/red.txt").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            all.push(Wrong { name: name.to_string(), red: BTreeSet::new() });
        } else if let Some(wrong) = all.last_mut() {
            let here = |id: &&str| !id.ends_with("@v1") || Path::new("/sys/fs/cgroup/cpuset").exists();
            let ids = line.split_whitespace().filter(here).map(|id| id.trim_end_matches("@v1").to_string());
            wrong.red.extend(ids);
        }
    }
    all
}

fn judged(wrong: &Wrong) -> Result<()> {
    let number = wrong.name.split('-').next().unwrap_or_default();
    let chapter: Chapter = number.parse().map_err(anyhow::Error::msg)?;
    let own = std::env::current_exe()?;
    // Beside this program, for a hard link needs the same file system; and below a directory of its own.
    let beside = own.parent().context("a program is in a directory")?;
    let directory = lab::as_owner(beside, || Ok(tempfile::tempdir_in(beside)?))?;
    let link = directory.path().join(&wrong.name);
    fs::hard_link(&own, &link).with_context(|| format!("linking {}", link.display()))?;

    let all = std::env::var_os("LAB_WRONG_ALL").is_some();
    let checks: Vec<_> =
        lab::checks().filter(|check| check.applies_to(chapter) && (all || check.since == chapter)).collect();
    let known: BTreeSet<_> = lab::checks().map(|check| check.id.to_string()).collect();
    let unknown: Vec<_> = wrong.red.difference(&known).collect();
    anyhow::ensure!(unknown.is_empty(), "red.txt names checks that there are not: {unknown:?}");
    let tried: BTreeSet<_> = checks.iter().map(|check| check.id.to_string()).collect();

    let plan = Plan {
        chapter,
        checks,
        runtime: link,
        lab: Path::new(env!("CARGO_BIN_EXE_lab")).to_path_buf(),
        limits: Limits { check: 120, run: 40 },
        jobs: 4,
    };
    let graded = grade(&plan, &mut ())?;
    let red: BTreeSet<_> =
        graded.iter().filter_map(|one| reason(one).map(|_| one.check.id.to_string())).collect();
    let expected: BTreeSet<_> = wrong.red.intersection(&tried).cloned().collect();
    let mut message = String::new();
    for id in expected.difference(&red) {
        message += &format!("{id} should have failed\n");
    }
    for one in graded.iter().filter(|one| !expected.contains(one.check.id)) {
        message +=
            &reason(one).map(|reason| format!("{} failed:\n{reason}\n", one.check.id)).unwrap_or_default();
    }
    anyhow::ensure!(message.is_empty(), "{message}");
    Ok(())
}

fn reason(graded: &Graded) -> Option<String> {
    graded.failure().map(|failure| format!("{failure:?}"))
}
