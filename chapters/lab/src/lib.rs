//! Behaviour checks for a container runtime that is given as a program.
//!
//! A check knows nothing of how the runtime is written. It speaks the command line that all chapters
//! share, and then looks at what the kernel says: `/proc`, mount tables, cgroup files, exit statuses,
//! bytes on the host's disk. So it serves for our chapters and for anybody's own runtime.
//!
//! Each check runs on a host of its own (see `host.rs`), where a broken runtime can do no harm to the real one,
//! and afterwards the lab looks for anything left behind. Temporary files go below `$TMPDIR` (default
//! `/tmp`), which must be on a file system that can execute programs and hold an overlay's upper layer.

mod aufs;
pub mod bench;
mod book;
mod caller;
mod cgroups;
mod chapter;
pub mod check;
pub mod doctor;
mod exercises;
mod faults;
pub mod grade;
mod hierarchy;
pub mod hint;
mod host;
pub mod new;
mod outcome;
mod overlay;
mod pivot_root;
mod process;
pub mod report;
mod run;
mod running;
mod runtime;
mod see;
mod show;
mod snapshot;
mod strace;
mod terminal;
mod volumes;
pub mod watch;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

pub use chapter::Chapter;
pub use runtime::Lab;
pub use see::CannotRun;
use see::cannot_run;

/// One behaviour of a container runtime.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Short and stable: tests are filtered by it, learners talk about it.
    pub id: &'static str,
    /// The chapter that teaches the behaviour; those that build on it keep it.
    pub since: Chapter,
    /// The last chapter that has the behaviour, if a later one takes it away.
    pub until: Option<Chapter>,
    /// The behaviour in one sentence.
    pub says: &'static str,
    run: fn(&Lab) -> Result<()>,
    /// Whether a container starts in it, which ch04_aufs can do only on a kernel with aufs.
    container: bool,
    /// The exercise of the book that it belongs to: a runtime is only asked for it if someone says so.
    pub exercise: Option<&'static str>,
}

impl Check {
    const fn new(id: &'static str, since: Chapter, says: &'static str, run: fn(&Lab) -> Result<()>) -> Check {
        Check { id, since, until: None, says, run, container: true, exercise: None }
    }

    const fn until(mut self, last: Chapter) -> Check {
        self.until = Some(last);
        self
    }

    const fn without_container(mut self) -> Check {
        self.container = false;
        self
    }

    const fn exercise(mut self, name: &'static str) -> Check {
        self.exercise = Some(name);
        self
    }

    /// Whether a runtime that has come as far as `chapter` must behave so.
    pub fn applies_to(&self, chapter: Chapter) -> bool {
        chapter.includes(self.since) && self.until.is_none_or(|last| last.includes(chapter))
    }

    /// Tries it on the program at `runtime`. The error says what was done, expected, and seen; it is a
    /// [`CannotRun`] if this host lacks something that the check needs.
    pub fn carry_out(&self, chapter: Chapter, runtime: &Path) -> Result<()> {
        self.with_leftovers(chapter, runtime).0
    }

    /// The same, along with what was left behind and has been cleaned up.
    fn with_leftovers(&self, chapter: Chapter, runtime: &Path) -> (Result<()>, Vec<String>) {
        if chapter == Chapter::Aufs && self.container && !aufs::on_this_kernel() {
            let no_aufs = cannot_run("this kernel has no aufs (the classroom VM in vagrant/ has)");
            return (Err(no_aufs), Vec::new());
        }
        runtime::with_lab(chapter, runtime, self.run)
    }
}

/// All checks, in the order of the chapters.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [run::CHECKS, cgroups::CHECKS, pivot_root::CHECKS, aufs::CHECKS, overlay::CHECKS, volumes::CHECKS]
        .into_iter()
        .flatten()
        .copied()
        .flatten()
}

/// The checks of the book's exercises, which no chapter passes.
pub fn exercise_checks() -> impl Iterator<Item = &'static Check> {
    exercises::CHECKS.iter()
}

/// The check of this name, an exercise's included.
pub fn by_id(id: &str) -> Option<&'static Check> {
    checks().chain(exercise_checks()).find(|check| check.id == id)
}

/// The checks that let everything go wrong.
pub fn fault_checks() -> impl Iterator<Item = &'static Check> {
    faults::CHECKS.iter().copied().flatten()
}

/// The whole of a chapter's `tests/checks.rs`: every check that applies, each as a test of its own.
///
/// `cargo test -- --list` lists them, `cargo test -- WORD` runs those with WORD in their ids. LAB_NEW_ONLY in the
/// environment leaves out what an earlier chapter has added: `LAB_NEW_ONLY=1` in all chapters, which makes each behaviour
/// be checked once, and `LAB_NEW_ONLY=before-last` in those that another chapter builds on.
pub fn main(chapter: Chapter, runtime: &'static str) -> ExitCode {
    run_all(checks(), chapter, runtime)
}

/// The whole of a chapter's `tests/faults.rs`, in the same way.
pub fn faults(chapter: Chapter, runtime: &'static str) -> ExitCode {
    run_all(fault_checks(), chapter, runtime)
}

fn run_all(
    checks: impl Iterator<Item = &'static Check>,
    chapter: Chapter,
    runtime: &'static str,
) -> ExitCode {
    let arguments = Arguments::from_args();
    let listing = arguments.list;
    if !listing && !nix::unistd::geteuid().is_root() {
        eprintln!("lab: these checks make containers, and only root can: run them as root or with sudo");
        return ExitCode::FAILURE;
    }
    // All that holds in all chapters grows with the square of their number.
    let new_only = match std::env::var("LAB_NEW_ONLY").as_deref() {
        Err(_) | Ok("") => false,
        Ok("before-last") => !chapter.is_last(),
        Ok(_) => true,
    };
    let wanted = |check: &&Check| check.applies_to(chapter) && (check.since == chapter || !new_only);
    let trials = checks.filter(wanted).map(|check| trial(check, chapter, runtime));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn trial(check: &'static Check, chapter: Chapter, runtime: &'static str) -> Trial {
    Trial::ignorable_test(check.id, move || match check.carry_out(chapter, Path::new(runtime)) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref() {
            Some(CannotRun(reason)) => Ok(Completion::ignored_with(reason)),
            None => Err(Failed::from(format!("{}\n{error:#}", check.says))),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_kebab_case() {
        let mut seen = HashSet::new();
        for check in checks().chain(exercise_checks()).chain(fault_checks()) {
            assert!(seen.insert(check.id), "two checks are called {}", check.id);
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(check.id.chars().all(kebab), "{} is not kebab-case", check.id);
        }
    }

    #[test]
    fn a_check_says_one_sentence() {
        for check in checks().chain(exercise_checks()).chain(fault_checks()) {
            assert!(check.says.ends_with('.') && !check.says.contains('\n'), "{}: {}", check.id, check.says);
        }
    }
}
