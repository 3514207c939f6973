//! Someone types along, does what the captions say, and nothing that they do not say. At each stop of the book this crate
//! is what the chapter's files have by then, it compiles, and the checks that the stop names are green, and were red at
//! the stop before. At a chapter's end all its checks are green, and what the book breaks can be broken there as well.
//!
//! `cargo test -p book --test stops -- ch02` tries one chapter, and `BOOK_STOPS=1/2` every second, from the first on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail as tests do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use book::learner::{self, Files, Stop};
use book::repo;
use lab::{Chapter, Check, Graded, Limits, Plan, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

/// No stop names these: by chance they are green before it, too. The first when other containers run at the same time, the
/// second when two runs that race for the image happen not to meet.
const BY_CHANCE: [&str; 2] = ["cgroup-parent-gone", "image-first-runs"];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Half of the time goes by in waiting for runtimes that do the wrong thing. One by one, for who asks for some.
    let at_once = if arguments.filter.is_some() { 1 } else { 2 };
    arguments.test_threads = Some(at_once);
    let trial = |name: String, chapter: Chapter, wrongs: fn(Chapter, &Path) -> Vec<String>| {
        Trial::test(name, move || {
            let wrong = at_a_place(at_once, |directory| wrongs(chapter, directory))?;
            if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n\n"))) }
        })
    };
    let of_chapter = |chapter: Chapter| {
        let name = chapter.package();
        [trial(name.to_string(), chapter, tried), trial(format!("{name}_breaks"), chapter, broken)]
    };
    let chosen = match lab::part_of("BOOK_STOPS", &Chapter::typed().collect::<Vec<_>>()) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    lab::as_root(&arguments, chosen.into_iter().flat_map(of_chapter).collect())
}

/// Does something at a place to build, of so many, that nobody else is at.
fn at_a_place<T>(places: usize, what: impl FnOnce(&Path) -> T) -> Result<T, Failed> {
    static FREE: OnceLock<Result<Mutex<Vec<usize>>, String>> = OnceLock::new();
    let prepare = || (1..places).try_for_each(learner::fill).map(|()| Mutex::new((0..places).collect()));
    let free = FREE.get_or_init(|| prepare().map_err(|error| format!("{error:#}"))).as_ref()?;
    let free = || free.lock().unwrap_or_else(PoisonError::into_inner);
    let number = free().pop().ok_or("more chapters at a time than places for them")?;
    // The place is free again after a panic, too: else the next chapter's complaint would hide this one's.
    let done = panic::catch_unwind(AssertUnwindSafe(|| what(&learner::place(number).unwrap())));
    free().push(number);
    Ok(done.unwrap_or_else(|panic| panic::resume_unwind(panic)))
}

/// What is wrong with the changes of *Break it* to a chapter, in the crate of someone who has typed it:
/// `patch -p3 < book/breaks/x.diff`, and back with `-R`.
fn broken(chapter: Chapter, directory: &Path) -> Vec<String> {
    let complete = learner::complete(Some(chapter)).unwrap();
    let mut wrong = Vec::new();
    for file in repo::files().unwrap().iter().filter(|file| file.starts_with("book/breaks")) {
        let diff = repo::root().join(file);
        if !repo::read(&diff).unwrap().contains(&format!("+++ b/chapters/{}/", chapter.package())) {
            continue;
        }
        learner::write(&complete, directory).unwrap();
        let said = |what: &str, error: String| {
            format!("{}: in a crate of one's own: {what}:\n{error}", file.display())
        };
        if let Err(error) = patched(&diff, directory, &[]) {
            wrong.push(said("it does not apply", error));
            continue;
        }
        wrong.extend(
            learner::cargo("check", directory).unwrap().err().map(|error| said("does not compile", error)),
        );
        match patched(&diff, directory, &["-R"]) {
            Err(error) => wrong.push(said("it cannot be undone", error)),
            Ok(()) => {
                let is_back =
                    |(name, text): (&PathBuf, &String)| repo::read(&directory.join(name)).unwrap() == *text;
                if !complete.iter().all(is_back) {
                    wrong.push(said("undone, it leaves something else", String::new()));
                }
            }
        }
    }
    wrong
}

fn patched(diff: &Path, directory: &Path, more: &[&str]) -> Result<(), String> {
    let input = fs::File::open(diff).unwrap();
    let mut patch = Command::new("patch");
    patch.args(["-p3", "--quiet", "--no-backup-if-mismatch", "--fuzz=0"]).args(more).current_dir(directory);
    let output = patch.stdin(input).output().expect("the program patch, which learners use, is needed");
    // Run by root, it leaves root's files in somebody's checkout.
    repo::give(&directory.join("src"), repo::owner().unwrap()).unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
}

/// All that is wrong with a chapter's stops.
fn tried(chapter: Chapter, directory: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let stops = match learner::stops(chapter) {
        Ok(stops) => stops,
        Err(error) => return vec![format!("{error:#}")],
    };
    println!("chapter {}: {} stops", chapter.name(), stops.len());
    let mut programs = Vec::new();
    let mut before = built(&learner::complete(learner::earlier(chapter)).unwrap(), directory, "before");
    for stop in &stops {
        wrong.extend(stop.differences.iter().map(|how| format!("{}: {how}", stop.place)));
        let now = built(&stop.typed, directory, &format!("stop-{}", stop.number));
        match &now {
            Err(errors) => {
                wrong.push(format!("{}: what is typed by then does not compile:\n{errors}", stop.place))
            }
            Ok(now) => wrong.extend(judged(stop, before.as_deref().ok(), now)),
        }
        if let Ok(now) = &now {
            programs.push((stop.number, now.clone()));
        }
        before = now.or(before);
    }
    let complete = learner::complete(Some(chapter)).unwrap();
    match stops.last() {
        None => wrong.push(format!("chapter {} has no stop", chapter.name())),
        Some(last) if !last.is_last => wrong.push(format!("{}: code below the last stop", last.page)),
        Some(last) => {
            let other = last.files.keys().chain(complete.keys()).collect::<BTreeSet<_>>().into_iter();
            let other = other.filter(|file| last.files.get(*file) != complete.get(*file));
            wrong.extend(
                other.map(|file| {
                    format!("{}: {} is not what the chapter ends with", last.place, file.display())
                }),
            );
        }
    }
    wrong.extend(not_named(chapter, &stops, &programs, directory));
    wrong.extend(end(chapter, &complete, directory));
    wrong
}

/// Checks of the chapter that no stop names, and that are red before its first: some stop turns them green.
fn not_named(
    chapter: Chapter,
    stops: &[Stop],
    programs: &[(usize, PathBuf)],
    directory: &Path,
) -> Option<String> {
    let named: BTreeSet<_> = stops.iter().flat_map(|stop| stop.ids.iter().map(String::as_str)).collect();
    let is_named = |id: &str| named.contains(id) || BY_CHANCE.contains(&id);
    let own = lab::checks().filter(|check| check.since == chapter && !is_named(check.id));
    let own: Vec<_> = own.collect();
    let before = built(&learner::complete(learner::earlier(chapter)).unwrap(), directory, "start").ok()?;
    let red: Vec<_> = failed(chapter, &own, &before).into_iter().map(|(id, _)| id).collect();
    let red: Vec<_> = own.into_iter().filter(|check| red.contains(&check.id)).collect();
    let first = |check: &'static Check| {
        let green = programs.iter().find(|(_, program)| failed(chapter, &[check], program).is_empty());
        green.map_or(format!("{} (at none)", check.id), |(number, _)| {
            format!("{} (at stop {number})", check.id)
        })
    };
    let listed: Vec<_> = red.iter().map(|check| first(check)).collect();
    let words =
        format!("chapter {}: no stop names these, which turn green: {}", chapter.name(), listed.join(", "));
    (!red.is_empty()).then_some(words)
}

/// Builds a crate, and puts the program aside.
fn built(files: &Files, directory: &Path, name: &str) -> Result<PathBuf, String> {
    let program = learner::built(files, directory).unwrap()?;
    let aside = directory.join("target/programs").join(name);
    lab::as_owner(directory, || {
        fs::create_dir_all(directory.join("target/programs"))?;
        let _ = fs::remove_file(&aside); // or it was not there
        Ok(fs::copy(&program, &aside)?)
    })
    .unwrap();
    Ok(aside)
}

/// What is wrong with a stop's checks.
fn judged(stop: &Stop, before: Option<&Path>, now: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut checks = Vec::new();
    for id in &stop.ids {
        match lab::checks().find(|check| check.id == id) {
            Some(check) if check.applies_to(stop.chapter) => checks.push(check),
            Some(_) => wrong.push(format!("{}: {id} is a check of another chapter", stop.place)),
            None => wrong.push(format!("{}: the lab has no check {id}", stop.place)),
        }
    }
    let title = format!("stop {} of chapter {} ({})", stop.number, stop.chapter.name(), stop.place);
    let mut red = Vec::new();
    for (check, reason) in failed(stop.chapter, &checks, now) {
        red.push(check);
        wrong.push(format!("{title}: {check} is not green here:\n{reason}"));
    }
    if let Some(before) = before {
        let still: Vec<_> = checks.into_iter().filter(|check| !red.contains(&check.id)).collect();
        wrong.extend(passed(stop.chapter, &still, before).into_iter().map(|check| {
            format!("{title}: {check} was green at the stop before, without what is typed since")
        }));
    }
    wrong
}

fn end(chapter: Chapter, complete: &Files, directory: &Path) -> Vec<String> {
    let program = match built(complete, directory, "complete") {
        Ok(program) => program,
        Err(errors) => return vec![format!("after chapter {}:\n{errors}", chapter.name())],
    };
    // What earlier chapters taught is looked at once more when all is there, unless time is short: it's the same code that the
    // chapter's own tests try.
    let all =
        chapter == Chapter::LAST_TYPED && std::env::var_os("LAB_NEW_ONLY").is_none_or(|only| only.is_empty());
    let checks = lab::checks().filter(|check| check.applies_to(chapter) && (all || check.since == chapter));
    let checks: Vec<_> = checks.collect();
    println!("chapter {}, at its end: {} checks", chapter.name(), checks.len());
    let failed = failed(chapter, &checks, &program).into_iter();
    failed.map(|(id, reason)| format!("at the end of chapter {}: {id}:\n{reason}", chapter.name())).collect()
}

/// The checks that the program fails, and why.
fn failed(chapter: Chapter, checks: &[&'static Check], program: &Path) -> Vec<(&'static str, String)> {
    let limits = Limits { check: 60, run: 20 };
    let mut failed = Vec::new();
    for one in graded(chapter, checks, program, limits) {
        match one.verdict {
            Verdict::Pass => {}
            Verdict::Skip(reason) => println!("{}: skipped: {reason}", one.check.id),
            Verdict::Fail(_) => failed.push(one.check),
        }
    }
    // A busy machine can be too slow for one: once more, alone.
    let again = failed.into_iter().flat_map(|check| graded(chapter, &[check], program, limits));
    again.filter_map(|one| Some((one.check.id, format!("{:#?}", one.failure()?)))).collect()
}

/// The checks that the program passes, and should not: one that takes long has failed.
fn passed(chapter: Chapter, checks: &[&'static Check], program: &Path) -> Vec<&'static str> {
    let graded = graded(chapter, checks, program, Limits { check: 20, run: 8 });
    graded.into_iter().filter(|one| matches!(one.verdict, Verdict::Pass)).map(|one| one.check.id).collect()
}

fn graded(chapter: Chapter, checks: &[&'static Check], program: &Path, limits: Limits) -> Vec<Graded> {
    let jobs = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let few = checks.chunks(5); // the lab would give up when many in a row take too long
    few.flat_map(|checks| {
        let (checks, runtime) = (checks.to_vec(), program.to_path_buf());
        lab::grade(&Plan { chapter, checks, runtime, lab: lab_program(), limits, jobs }, &mut ()).unwrap()
    })
    .collect()
}

/// The lab's own program, which tries each check on a host of its own: a learner's program does not run all chapters yet.
fn lab_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let own = std::env::current_exe().unwrap(); // target/debug/deps/stops-…
            let target = own.ancestors().nth(3).unwrap();
            let mut cargo = lab::cargo_as_owner(&repo::root()).unwrap();
            cargo.args(["build", "--quiet", "--offline", "--package=lab", "--bin=lab"]);
            let output = cargo.env("CARGO_TARGET_DIR", target).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            target.join("debug/lab")
        })
        .clone()
}
