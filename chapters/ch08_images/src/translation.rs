//! From an image's config to the words that chapter 7's `run` understands.
//!
//! What an image says is what somebody could have typed, so it becomes just that: options before the typed ones, of which the
//! last counts. The record keeps these words, and `start`, `exec` and `ps` need not know of images.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, ensure};
use ch07_lifecycle::environment;

use crate::formats::Execution;

/// What stands before the command: the image's own entry point, or the one that was typed.
pub fn entrypoint(image: &Execution, typed: Option<&OsStr>) -> Vec<OsString> {
    match typed {
        Some(none) if none.is_empty() => Vec::new(),
        Some(program) => vec![program.to_os_string()],
        None => image.entrypoint.iter().map(OsString::from).collect(),
    }
}

/// What runs: the entry point, and behind it what was typed, or else the image's own command. That one is for the image's
/// entry point, and is nothing to another.
pub fn command(image: &Execution, other: Option<&OsStr>, typed: &[OsString]) -> Result<Vec<OsString>> {
    let is_images = other.is_none() && typed.is_empty();
    let cmd = if is_images { image.cmd.iter().map(OsString::from).collect() } else { typed.to_vec() };
    let command = [entrypoint(image, other), cmd].concat();
    ensure!(!command.is_empty(), "no command specified");
    Ok(command)
}

/// The words of chapter 7's `run`: those of the image, with its `volumes`, those of it that were `typed`, and the command.
pub fn words(
    image: &Execution,
    volumes: impl Iterator<Item = OsString>,
    typed: Vec<OsString>,
    command: &[OsString],
) -> Vec<OsString> {
    let mut words: Vec<_> = volumes.collect();
    let mut option = |name: &str, value: &OsStr| {
        if !value.is_empty() {
            words.push([OsStr::new(name), value].join(OsStr::new("=")));
        }
    };
    if !image.working_dir.is_empty() {
        option("--workdir", Path::new("/").join(&image.working_dir).as_os_str());
    }
    option("--user", image.user.as_ref());
    option("--stop-signal", image.stop_signal.as_ref());
    words.extend(typed);
    words.push("--".into()); // whatever the command is, it's no option
    words.extend_from_slice(command);
    words
}

/// The options of this chapter.
pub const OURS: [&str; 2] = ["--entrypoint", "--pull"];

/// What was `typed`, without the options of these names, which have a value, and without `--`. No option's value begins with
/// `--`, so these words are nothing else.
pub fn without(names: &[&str], typed: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = typed.iter();
    while let Some(word) = words.next() {
        let is_it = |name: &&&str| {
            let behind = word.as_bytes().strip_prefix(name.as_bytes());
            behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(b"="))
        };
        match names.iter().find(is_it) {
            Some(name) if word == *name => drop(words.next()), // its value
            Some(_) => {}
            None if word == "--" => {}
            None => kept.push(word.clone()),
        }
    }
    kept
}

/// The image's variables over those that every command has. One without a value is none: it would be the caller's.
pub fn environment(image: &Execution, base: Vec<OsString>) -> Vec<OsString> {
    let mut variables = base;
    for variable in image.env.iter().filter(|variable| variable.contains('=')) {
        environment::set(&mut variables, variable.as_ref());
    }
    variables
}

/// In a record, NUL bytes stand between words. So no word has one, or it would be two, and the second an option that nobody
/// has typed.
pub fn ensure_words(image: &Execution) -> Result<()> {
    let one = [&image.user, &image.working_dir, &image.stop_signal];
    let lists = [&image.env, &image.entrypoint, &image.cmd].into_iter().flatten();
    let mut all = one.into_iter().chain(lists).chain(image.volumes.keys());
    ensure!(!all.any(|text| text.contains('\0')), "the image's config has a text with a NUL byte in it");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    fn image(entrypoint: &[&str], cmd: &[&str]) -> Execution {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Execution { entrypoint: texts(entrypoint), cmd: texts(cmd), ..Execution::default() }
    }

    #[test]
    fn entry_points_and_commands() {
        for (entrypoint, cmd, option, typed, runs) in [
            (&["e"][..], &["c"][..], None, &[][..], &["e", "c"][..]),
            (&["e"], &["c"], None, &["t"], &["e", "t"]),
            (&["e"], &["c"], Some("o"), &[], &["o"]),
            (&["e"], &["c"], Some("o"), &["t"], &["o", "t"]),
            (&["e"], &["c"], Some(""), &["t"], &["t"]),
            (&["e"], &["c"], Some(""), &[], &[]),
            (&[], &["c"], None, &[], &["c"]),
            (&[], &["c"], None, &["t"], &["t"]),
            (&["e"], &[], None, &[], &["e"]),
            (&[], &[], None, &[], &[]),
        ] {
            let command = command(&image(entrypoint, cmd), option.map(OsStr::new), &all(typed));
            assert_eq!(command.unwrap_or_default(), all(runs), "{entrypoint:?} {cmd:?} {option:?} {typed:?}");
        }
    }

    #[test]
    fn options_of_both() {
        let image = Execution { user: "anna".into(), working_dir: "srv".into(), ..Execution::default() };
        let typed = all(&["-ti", "--pull", "never", "--entrypoint=x", "--pull=never", "-e", "A=1", "--"]);
        let words =
            words(&image, ["-v=x".into()].into_iter(), without(&OURS, &typed), &all(&["--pull", "x"]));
        let expected = ["-v=x", "--workdir=/srv", "--user=anna", "-ti", "-e", "A=1", "--", "--pull", "x"];
        assert_eq!(words, all(&expected));
    }

    #[test]
    fn no_variable_is_the_callers() {
        let image = Execution { env: ["A=2", "PATH", "B="].map(String::from).into(), ..Execution::default() };
        assert_eq!(environment(&image, all(&["A=1", "C=3"])), all(&["C=3", "A=2", "B="]));
    }

    #[test]
    fn no_word_is_two() {
        let mut image = image(&["e"], &["c"]);
        assert!(ensure_words(&image).is_ok());
        image.working_dir = "/\0--volume=/:/host".into();
        assert!(ensure_words(&image).is_err());
    }
}
