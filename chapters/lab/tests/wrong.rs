//! Proof that the checks judge right: runtimes that are wrong in one thing each, and exactly the checks that have to
//! fail for it do.
//!
//! Each is tried on the checks of the chapter that teaches the thing; with LAB_WRONG_ALL in the environment, on those of
//! the chapters before it, too. In chapter 7 there are many of both, so each is tried on a few only, and those say of it
//! what they must. (`--exact 7-stop-once` tries one.) `LAB_WRONG=1/3` tries every third one, from the first on.

#[path = "../wrong/runtime.rs"]
mod runtime;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use lab::{Chapter, Graded, Limits, Plan, Verdict, grade};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    // By another name, as one check runs it, it has no defect.
    if std::env::args_os().nth(1).is_some_and(|word| word == "run") {
        return runtime::main();
    }
    let mut arguments = Arguments::from_args();
    // Most of the time is spent in waiting for what does not come.
    arguments.test_threads.get_or_insert(6);
    let chosen = match lab::part_of("LAB_WRONG", &expected()) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = chosen.into_iter().map(|wrong| {
        Trial::ignorable_test(wrong.name.clone(), move || {
            judged(&wrong).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    lab::as_root(&arguments, trials.collect())
}

/// A wrong runtime and the checks that find it.
#[derive(Clone)]
struct Wrong {
    name: String,
    red: BTreeSet<String>,
    /// Checks that must not find anything. If there are some, no others are tried.
    green: BTreeSet<String>,
}

/// What wrong/red.txt says: `[NAME]`, and below it checks; `#` begins a comment, and `+` a check that must be green.
fn expected() -> Vec<Wrong> {
    let mut all: Vec<Wrong> = Vec::new();
    for line in include_str!("../wrong/red.txt").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            all.push(Wrong { name: name.to_string(), red: BTreeSet::new(), green: BTreeSet::new() });
        } else if let Some(wrong) = all.last_mut() {
            let here = |id: &&str| !id.ends_with("@v1") || Path::new("/sys/fs/cgroup/cpuset").exists();
            for id in line.split_whitespace().filter(here).map(|id| id.trim_end_matches("@v1")) {
                match id.strip_prefix('+') {
                    Some(id) => wrong.green.insert(id.to_string()),
                    None => wrong.red.insert(id.to_string()),
                };
            }
        }
    }
    all
}

fn judged(wrong: &Wrong) -> Result<Completion> {
    let number = wrong.name.split('-').next().unwrap_or_default();
    let chapter: Chapter = number.parse().map_err(anyhow::Error::msg)?;
    let own = std::env::current_exe()?;
    // Beside this program, for a hard link needs the same file system; and below a directory of its own.
    let beside = own.parent().context("a program is in a directory")?;
    let directory = lab::as_owner(beside, || Ok(tempfile::tempdir_in(beside)?))?;
    let runtime = made(wrong, chapter, &own, directory.path())?;

    let all = std::env::var_os("LAB_WRONG_ALL").is_some();
    let named = |id: &str| wrong.red.contains(id) || wrong.green.contains(id);
    let checks: Vec<_> = lab::checks()
        .filter(|check| check.applies_to(chapter) && (all || check.since == chapter))
        .filter(|check| wrong.green.is_empty() || named(check.id))
        .collect();
    let known: BTreeSet<_> = lab::checks().map(|check| check.id.to_string()).collect();
    let unknown: Vec<_> = wrong.red.union(&wrong.green).filter(|id| !known.contains(*id)).collect();
    ensure!(unknown.is_empty(), "red.txt names checks that there are not: {unknown:?}");
    let tried: BTreeSet<_> = checks.iter().map(|check| check.id.to_string()).collect();

    let plan = Plan {
        chapter,
        checks,
        runtime,
        lab: Path::new(env!("CARGO_BIN_EXE_lab")).to_path_buf(),
        // A frozen container that its runtime has lost sight of takes all the time that there is.
        limits: Limits { check: if chapter == Chapter::Lifecycle { 45 } else { 120 }, run: 40 },
        jobs: 4,
    };
    let graded = grade(&plan, &mut ())?;
    let red: BTreeSet<_> =
        graded.iter().filter_map(|one| reason(one).map(|_| one.check.id.to_string())).collect();
    let expected: BTreeSet<_> = wrong.red.intersection(&tried).cloned().collect();
    let mut message = String::new();
    // One that this machine lacks a program for finds nothing.
    let skipped = |id: &str| {
        graded.iter().find_map(|one| match &one.verdict {
            Verdict::Skip(why) if one.check.id == id => Some(format!("{id}: {why}")),
            _ => None,
        })
    };
    let reasons: Vec<_> = expected.iter().filter_map(|id| skipped(id)).collect();
    for id in expected.difference(&red).filter(|id| skipped(id).is_none()) {
        message += &format!("{id} should have failed\n");
    }
    for one in graded.iter().filter(|one| !expected.contains(one.check.id)) {
        message +=
            &reason(one).map(|reason| format!("{} failed:\n{reason}\n", one.check.id)).unwrap_or_default();
    }
    ensure!(message.is_empty(), "{message}");
    Ok(if reasons.is_empty() { Completion::Completed } else { Completion::ignored_with(reasons.join("; ")) })
}

/// Makes its program in the directory: this one by its name, or from chapter 7 on a script around the chapter's own.
fn made(wrong: &Wrong, chapter: Chapter, own: &Path, directory: &Path) -> Result<PathBuf> {
    let program = directory.join(&wrong.name);
    let script = match chapter {
        Chapter::Lifecycle => Some(include_str!("../wrong/lifecycle.sh")),
        Chapter::Images => Some(include_str!("../wrong/images.sh")),
        Chapter::Network => Some(include_str!("../wrong/network.sh")),
        _ => None,
    };
    if let Some(script) = script {
        let right = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(chapter.package());
        ensure!(right.is_file(), "{} is not built: cargo build --bins", right.display());
        symlink(right, directory.join("right"))?;
        fs::write(&program, script)?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    } else {
        fs::hard_link(own, &program).with_context(|| format!("linking {}", program.display()))?;
    }
    Ok(program)
}

fn reason(graded: &Graded) -> Option<String> {
    graded.failure().map(|failure| format!("{failure:?}"))
}
