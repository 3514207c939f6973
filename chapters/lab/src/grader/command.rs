//! `cargo lab check N`: what a runtime does well, and what not, told as it is found out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};

use crate::chapter::{Chapter, repository};
use crate::checks::check::Check;
use crate::checks::{checks, exercise_checks};
use crate::grader::book::Book;
use crate::grader::caller;
use crate::grader::grade::{Plan, grade};
use crate::grader::one::Limits;
use crate::grader::show::{Json, Text};
use crate::grader::stops::{self, Stop};
use crate::machine::aufs;
use crate::machine::host;
use crate::machine::process::require_root;
use crate::see::tell;

/// What `check` and `watch` are told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// How far the runtime has come.
    #[arg(help = format!("The chapter: one of {}; with the checks of the chapters before it", Chapter::names()))]
    pub(crate) chapter: Chapter,
    /// The runtime: a program in any language, or the directory of a crate, which is built [default: the repository's own]
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime: Option<PathBuf>,
    /// Only what turns green at this stop of the chapter
    #[arg(long, value_name = "N", conflicts_with_all = ["ids", "exercise"])]
    pub(crate) stop: Option<usize>,
    /// Only these checks
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// The checks of an exercise, too; may be given again
    #[arg(long, value_name = "NAME")]
    pub(crate) exercise: Vec<String>,
    /// One JSON object for each check, a line each, and then a summary: see chapters/lab/README.md
    #[arg(long)]
    pub(crate) json: bool,
    /// How many checks at a time [default: the number of processors]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// How long a single run of the runtime may take; a check may take three times as long
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) limit: u64,
}

/// Some check failed.
const SOME_FAILED: u8 = 1;

/// The whole of `cargo lab check`. An error means that the lab could not do its work.
pub(crate) fn check(arguments: &Arguments) -> Result<ExitCode> {
    let chosen = chosen(arguments)?;
    let stop = stop_of(arguments)?;
    if let Some(stop) = stop.filter(|_| chosen.is_empty()) {
        ensure!(!arguments.json, "no check turns green at stop {}", stop.number);
        tell(&format!("{}Nothing turns green here: run your program, and see.\n", introduced(&stop)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = runtime(arguments)?;
    graded(arguments, chosen, runtime)
}

/// Grades the runtime and tells about it. Returns the exit status.
pub(crate) fn graded(
    arguments: &Arguments,
    checks: Vec<&'static Check>,
    runtime: PathBuf,
) -> Result<ExitCode> {
    let plan = plan(arguments.chapter, checks, runtime, arguments.limit, arguments.jobs)?;
    let graded = if arguments.json {
        let mut json = Json::new(&plan);
        let graded = grade(&plan, &mut json)?;
        json.end(&graded);
        graded
    } else {
        let book = Book::read();
        let stop = stop_of(arguments)?;
        tell(&stop.as_ref().map(introduced).unwrap_or_default())?;
        let mut text = Text::new(&plan, &book, arguments.runtime.as_deref(), stop);
        let graded = grade(&plan, &mut text)?;
        text.end(&graded);
        graded
    };
    let some_failed = graded.iter().any(|one| one.failure().is_some());
    Ok(if some_failed { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

/// The stop that is asked for.
fn stop_of(arguments: &Arguments) -> Result<Option<Stop>> {
    arguments.stop.map(|number| stops::stop(arguments.chapter, number)).transpose()
}

/// What a stop is.
fn introduced(stop: &Stop) -> String {
    format!("Stop {}: {}\n  {}\n", stop.number, stop.heading, stop.address())
}

/// How a runtime is graded.
pub(crate) fn plan(
    chapter: Chapter,
    checks: Vec<&'static Check>,
    runtime: PathBuf,
    limit: u64,
    jobs: Option<usize>,
) -> Result<Plan> {
    require_root()?;
    host::require_proc()?;
    if chapter == Chapter::Aufs {
        aufs::on_this_kernel(); // loads the module, which a check cannot
    }
    let runtime = runtime.canonicalize().with_context(|| format!("no runtime at {}", runtime.display()))?;
    ensure!(runtime.is_file(), "{} is no program", runtime.display());
    let jobs = jobs.unwrap_or_else(|| available_parallelism().map_or(2, usize::from).clamp(2, 8));
    // Not by its path: a build may put another program there meanwhile.
    let lab = PathBuf::from("/proc/self/exe");
    Ok(Plan { chapter, checks, runtime, lab, limits: Limits { check: 3 * limit, run: limit }, jobs })
}

/// The checks that are asked for.
pub(crate) fn chosen(arguments: &Arguments) -> Result<Vec<&'static Check>> {
    let known: Vec<_> = exercise_checks().filter_map(|check| check.exercise).collect();
    for name in &arguments.exercise {
        ensure!(
            known.contains(&name.as_str()),
            "there is no exercise {name:?}; there are {}",
            listed(&known)
        );
    }
    let on =
        |check: &&Check| check.exercise.is_none_or(|name| arguments.exercise.iter().any(|one| one == name));
    let chapter = arguments.chapter;
    let mut all: Vec<_> =
        checks().chain(exercise_checks()).filter(|check| check.applies_to(chapter)).collect();
    // Some early topics have checks that only a later chapter makes possible.
    all.sort_by_key(|check| check.since);
    for id in &arguments.ids {
        if !all.iter().any(|check| check.id == id) {
            let like: Vec<_> = all.iter().map(|check| check.id).filter(|other| alike(id, other)).collect();
            let hint = if like.is_empty() { String::new() } else { format!("; there are {}", listed(&like)) };
            bail!("chapter {} has no check {id:?}{hint}", chapter.name());
        }
    }
    if let Some(stop) = stop_of(arguments)? {
        return Ok(all.into_iter().filter(|check| stop.ids.iter().any(|id| id == check.id)).collect());
    }
    // An exercise's check that is named is on by that.
    let named = |check: &&Check| arguments.ids.iter().any(|id| id == check.id);
    let chosen =
        all.into_iter().filter(|check| if arguments.ids.is_empty() { on(check) } else { named(check) });
    Ok(chosen.collect())
}

/// Whether they have a word in common.
pub(crate) fn alike(one: &str, other: &str) -> bool {
    one.split('-').any(|word| word.len() > 2 && other.contains(word))
}

pub(crate) fn listed(names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The program to be graded, built if need be.
pub(crate) fn runtime(arguments: &Arguments) -> Result<PathBuf> {
    match &arguments.runtime {
        Some(path) => program_at(path),
        None => caller::build(&repository(), Some(arguments.chapter.package())),
    }
}

/// A program, or that of a crate's directory.
pub(crate) fn program_at(path: &Path) -> Result<PathBuf> {
    if path.is_dir() { caller::build(path, None) } else { Ok(path.to_path_buf()) }
}
