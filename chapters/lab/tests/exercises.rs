//! The solutions in `exercises/`: with one applied to its chapter, the exercise's checks are green, and without it red.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use lab::Chapter;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // they are built in one place
    // Each exercise, and the chapter that it extends.
    let exercises: BTreeMap<_, _> =
        lab::exercise_checks().filter_map(|check| Some((check.exercise?, check.since))).collect();
    let trial = |(name, chapter)| {
        Trial::test(name, move || solved(name, chapter).map_err(|error| Failed::from(format!("{error:#}"))))
    };
    lab::as_root(&arguments, exercises.into_iter().map(trial).collect())
}

fn solved(name: &str, chapter: Chapter) -> Result<()> {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let repository = lab.ancestors().nth(2).context("no repository")?;
    // Whoever builds is the user to whom this directory belongs. What was built there before is built no more.
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exercises");
    fs::create_dir_all(&copy)?;
    for file in ["Cargo.toml", "Cargo.lock", "chapters", "book"] {
        copied(&repository.join(file), &copy.join(file))?;
    }
    own(&copy, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let program = copy.join("chapters").join(chapter.package());

    let without = checked(&program, chapter, name)?;
    ensure!(count(&without, "fail") > 0 && count(&without, "pass") == 0, "without the solution: {without:?}");
    let diff = lab.join("exercises").join(format!("{name}.diff"));
    let mut git = Command::new("git");
    let applied = git.args(["apply", "--unsafe-paths", "--directory=."]).arg(&diff).current_dir(&copy);
    let output = applied.env("GIT_CEILING_DIRECTORIES", &copy).env("GIT_DIR", "/nonexistent").output()?;
    ensure!(output.status.success(), "{}: {}", diff.display(), String::from_utf8_lossy(&output.stderr));
    own(&copy, Path::new(env!("CARGO_TARGET_TMPDIR")))?; // git makes a file anew that it changes
    let with = checked(&program, chapter, name)?;
    let green = count(&with, "pass") == count(&without, "fail") && count(&with, "fail") == 0;
    ensure!(green, "with the solution: {with:?}");
    Ok(())
}

/// Copies a tree, but leaves alone what is the same already, for cargo goes by the time of a file. A file that a solution
/// has made is taken away.
fn copied(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(to)? {
            let entry = entry?;
            if entry.file_type()?.is_file() && !from.join(entry.file_name()).exists() {
                fs::remove_file(entry.path())
                    .with_context(|| format!("removing {}", entry.path().display()))?;
            }
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copied(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        if fs::read(to).ok().as_ref() != Some(&bytes) {
            fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))?;
            fs::set_permissions(to, Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Gives a tree to the owner of another one.
fn own(tree: &Path, like: &Path) -> Result<()> {
    let owner = fs::metadata(like)?;
    let mut left: Vec<PathBuf> = vec![tree.to_path_buf()];
    while let Some(path) = left.pop() {
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
        if path.is_dir() {
            left.extend(
                fs::read_dir(&path)?
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| !path.ends_with("target")),
            );
        }
    }
    Ok(())
}

fn count(results: &[(String, String)], outcome: &str) -> usize {
    results.iter().filter(|(_, other)| other == outcome).count()
}

/// Each check of the exercise, and its outcome. Says why one was skipped.
fn checked(program: &Path, chapter: Chapter, exercise: &str) -> Result<Vec<(String, String)>> {
    let ids = lab::exercise_checks().filter(|check| check.exercise == Some(exercise)).map(|check| check.id);
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["check", chapter.name(), "--json", "--runtime"]).arg(program).args(ids).stderr(Stdio::piped());
    let output = lab.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() != Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let mut results = Vec::new();
    for one in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        if let (Some(id), Some(outcome)) = (one["id"].as_str(), one["outcome"].as_str()) {
            if outcome == "skip" {
                println!("{id}: skipped: {}", one["reason"].as_str().unwrap_or_default());
            }
            results.push((id.to_string(), outcome.to_string()));
        }
    }
    Ok(results)
}
