//! `cargo lab hint ID`: a question first, and then where to look.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::checks::{by_id, checks, exercise_checks};
use crate::grader::book::Book;
use crate::grader::command::{alike, listed};
use crate::see::tell;

const HINTS: &str = include_str!("../../hints.md");

/// What `hint` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A check, as `cargo lab check` calls it
    pub(crate) id: String,
    /// 1 for the first hint, 2 for both
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) number: u8,
    /// Both hints
    #[arg(long)]
    pub(crate) more: bool,
}

/// The whole of `cargo lab hint`.
pub(crate) fn hint(arguments: &Arguments) -> Result<ExitCode> {
    let id = arguments.id.as_str();
    let Some(check) = by_id(id) else {
        let like = checks().chain(exercise_checks()).map(|check| check.id).filter(|other| alike(id, other));
        let like: Vec<_> = like.collect();
        ensure!(!like.is_empty(), "there is no check {id:?}");
        anyhow::bail!("there is no check {id:?}; there are {}", listed(&like));
    };
    let hints = hints(id);
    let first = hints.first().context("this check has no hint")?;
    let more = if arguments.more || arguments.number == 2 {
        let second = hints.get(1).context("this check has no second hint")?;
        format!("2. {second}\n\nRead: {}", Book::read().section(check))
    } else {
        format!("\nMore: cargo lab hint {id} 2")
    };
    tell(&format!("{id}: {}\n\n1. {first}\n{more}\n", check.says))?;
    Ok(ExitCode::SUCCESS)
}

/// The hints of a check.
fn hints(id: &str) -> Vec<&'static str> {
    let heading = |line: &str| line.strip_prefix("## ") == Some(id);
    let section = HINTS.lines().skip_while(|line| !heading(line)).skip(1);
    section.take_while(|line| !line.starts_with("## ")).filter_map(|line| line.strip_prefix("- ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_two_hints() {
        let mut all: Vec<_> = checks().chain(exercise_checks()).map(|check| check.id).collect();
        for id in &all {
            let hints = hints(id);
            assert_eq!(hints.len(), 2, "the hints of {id}: {hints:?}");
            assert!(hints[0].contains('?'), "the first hint of {id} asks nothing");
            assert!(hints[1].ends_with(['.', '?', ')']), "the second hint of {id}");
        }
        let mut named: Vec<_> = HINTS.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        all.sort_unstable();
        named.sort_unstable();
        assert_eq!(all, named);
    }
}
