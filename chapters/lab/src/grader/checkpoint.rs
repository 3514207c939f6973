//! `cargo lab checkpoint N --stop M PATH`: the crate as it is at a stop of the book, for whoever is stuck.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::chapter::{Chapter, repository};
use crate::grader::caller::{self, Caller};
use crate::grader::{new, stops};
use crate::see::{quoted, tell};

/// What `checkpoint` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The chapter, as `check` calls it
    pub(crate) chapter: Chapter,
    /// Which stop of the chapter [default: its end]
    #[arg(long, value_name = "N")]
    pub(crate) stop: Option<usize>,
    /// In a crate that is there already: its `src` becomes `src.mine`, and a new one takes its place
    #[arg(long)]
    pub(crate) replace: bool,
    /// A directory that does not exist yet
    pub(crate) path: PathBuf,
}

/// The whole of `cargo lab checkpoint`. Nothing of the learner's is ever overwritten.
pub(crate) fn checkpoint(arguments: &Arguments) -> Result<ExitCode> {
    let (chapter, path) = (arguments.chapter, arguments.path.as_path());
    let stop = arguments.stop.map(|number| stops::stop(chapter, number)).transpose()?;
    ensure!(Chapter::typed().any(|typed| typed == chapter), "nobody types chapter {}", chapter.name());
    let is_there = fs::symlink_metadata(path).is_ok();
    if is_there {
        ensure!(
            arguments.replace,
            "{} is there already; --replace puts the code into it, and keeps what is there as src.mine",
            path.display()
        );
        ensure_learners(path)?;
    }
    // What it writes is the caller's, and the book's own program writes it.
    let book = caller::build_program(&repository(), "book")?;
    if let Some(caller) = Caller::by_sudo()?.map_or_else(|| Caller::owner(path), |caller| Ok(Some(caller)))? {
        caller.become_them()?;
    }
    // Beside the old one first, so that an error changes nothing.
    let made = tempfile::tempdir().context("making a directory for a while")?;
    let mut command = Command::new(book);
    command.args(["learner", chapter.name()]).args(arguments.stop.map(|number| format!("--stop={number}")));
    command.arg(made.path()).stdin(Stdio::null());
    let status = command.status().context("starting the book's program")?;
    ensure!(status.success(), "the book's program could not put the crate together");

    if !is_there {
        new::make(path)?;
    }
    let src = path.join("src");
    let aside = if is_there { Some(put_aside(path)?) } else { None };
    if !is_there {
        fs::remove_dir_all(&src).with_context(|| format!("removing {}", src.display()))?; // made a moment ago
    }
    copied(&made.path().join("src"), &src)?;

    let path = path.canonicalize()?;
    let place = match &stop {
        Some(stop) => format!("stop {} of chapter {} ({})", stop.number, chapter.name(), stop.heading),
        None => format!("the end of chapter {}", chapter.name()),
    };
    tell(&format!("{} is the crate as it is at {place}.\n", path.display()))?;
    if let Some(aside) = aside {
        let (mine, src) = (aside.canonicalize()?, path.join("src"));
        tell(&format!("  yours: {}\n", mine.display()))?;
        tell(&format!("  look:  diff -ru {} {}\n", quoted(&mine), quoted(&src)))?;
    }
    if let Some(stop) = &stop {
        tell(&format!("  read:  {}\n", stop.address()))?;
    }
    let number = arguments.stop.map_or(String::new(), |number| format!(" --stop {number}"));
    tell(&format!("  check: cargo lab check {}{number} --runtime {}\n", chapter.name(), quoted(&path)))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether that is a crate which `cargo lab new` made: no other's `src` is touched.
fn ensure_learners(path: &Path) -> Result<()> {
    let lib = fs::read_to_string(path.join("src/lib.rs")).unwrap_or_default();
    let main = fs::read_to_string(path.join("src/main.rs")).unwrap_or_default();
    let is_one = lib.contains("==== the head ends here") || main.contains("==== your program ends here");
    ensure!(is_one, "{} is no crate that `cargo lab new` made", path.display());
    Ok(())
}

/// Gives the crate's `src` another name, which nothing has yet.
fn put_aside(path: &Path) -> Result<PathBuf> {
    for number in 1..1000 {
        let name = if number == 1 { "src.mine".to_string() } else { format!("src.mine-{number}") };
        let aside = path.join(name);
        if fs::symlink_metadata(&aside).is_err() {
            let src = path.join("src");
            fs::rename(&src, &aside).with_context(|| format!("renaming {}", src.display()))?;
            return Ok(aside);
        }
    }
    bail!("{} has a thousand of its src put aside", path.display())
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copied(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_put_aside_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(ensure_learners(path).is_err());
        for (text, name) in [("one", "src.mine"), ("two", "src.mine-2"), ("three", "src.mine-3")] {
            fs::create_dir_all(path.join("src/below")).unwrap();
            fs::write(path.join("src/below/a.rs"), text).unwrap();
            assert_eq!(put_aside(path).unwrap(), path.join(name));
            assert!(!path.join("src").exists());
            assert_eq!(fs::read_to_string(path.join(name).join("below/a.rs")).unwrap(), text);
        }
        copied(&path.join("src.mine"), &path.join("src")).unwrap();
        assert_eq!(fs::read_to_string(path.join("src/below/a.rs")).unwrap(), "one");
        assert!(copied(&path.join("src.mine"), &path.join("src")).is_err(), "it is there already");
    }

    #[test]
    fn only_a_crate_of_the_lab_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        new::make(&path).unwrap();
        ensure_learners(&path).unwrap();
        fs::write(path.join("src/main.rs"), "fn main() {}\n").unwrap();
        ensure_learners(&path).unwrap();
        fs::write(path.join("src/lib.rs"), "").unwrap();
        assert!(ensure_learners(&path).is_err());
    }
}
