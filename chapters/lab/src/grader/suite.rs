//! The checks as tests: each chapter's crate has them among its own.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::chapter::Chapter;
use crate::checks::check::Check;
use crate::checks::checks;
use crate::faults::fault_checks;
use crate::machine::process::require_root;
use crate::part::part_of;
use crate::see::CannotRun;

/// The whole of a chapter's `tests/checks.rs`: every check that applies, each as a test of its own.
///
/// `cargo test -- --list` lists them, `cargo test -- WORD` runs those with WORD in their ids. LAB_NEW_ONLY in the
/// environment leaves out what an earlier chapter has added: `LAB_NEW_ONLY=1` in all chapters, which makes each behaviour
/// be checked once, and `LAB_NEW_ONLY=before-last` in those that another chapter builds on. `LAB_CHECKS=2/3` is every third
/// one of what is left, from the second on.
pub fn main(chapter: Chapter, runtime: &'static str) -> ExitCode {
    all(checks(), chapter, runtime, chapter.is_last())
}

/// The whole of a chapter's `tests/faults.rs`, in the same way. But `before-last` leaves out earlier chapters' sweeps in the
/// last chapter, too: they take minutes, and its run makes the calls of the one before.
pub fn faults(chapter: Chapter, runtime: &'static str) -> ExitCode {
    all(fault_checks(), chapter, runtime, chapter.is_last() && chapter != Chapter::LAST)
}

fn all(
    checks: impl Iterator<Item = &'static Check>,
    chapter: Chapter,
    runtime: &'static str,
    before_last_is_all: bool,
) -> ExitCode {
    // All that holds in all chapters grows with the square of their number.
    let new_only = match std::env::var("LAB_NEW_ONLY").as_deref() {
        Err(_) | Ok("") => false,
        Ok("before-last") => !before_last_is_all,
        Ok(_) => true,
    };
    let wanted = |check: &&Check| check.applies_to(chapter) && (check.since == chapter || !new_only);
    let wanted: Vec<_> = checks.filter(wanted).collect();
    match part_of("LAB_CHECKS", &wanted) {
        Ok(some) => {
            let trials = some.into_iter().map(|check| trial(check, chapter, runtime));
            as_root(&Arguments::from_args(), trials.collect())
        }
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs tests that make containers. Whoever is not root may only list them.
pub fn as_root(arguments: &Arguments, trials: Vec<Trial>) -> ExitCode {
    if !arguments.list
        && let Err(error) = require_root()
    {
        eprintln!("lab: {error}");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(arguments, trials).exit_code()
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
    use std::collections::HashSet;

    use super::*;
    use crate::checks::exercise_checks;

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
