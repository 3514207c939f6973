//! A part of what takes long, for who has no time for all of it: one today, another tomorrow.

use std::env;

use anyhow::{Context, Result};

/// The part that this variable of the environment asks for: with `2/3` every third one, from the second on. Without the
/// variable, all. It is an error if it is anything else.
pub fn part_of<T: Clone>(variable: &str, all: &[T]) -> Result<Vec<T>> {
    let Ok(asked) = env::var(variable) else { return Ok(all.to_vec()) };
    let numbers = asked.split_once('/').and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse().ok()?)));
    let (part, of) = numbers
        .filter(|(i, n)| (1..=*n).contains(i))
        .with_context(|| format!("{variable}: write it as 1/8, and not as {asked:?}"))?;
    Ok(all.iter().skip(part - 1).step_by(of).cloned().collect())
}
