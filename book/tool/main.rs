//! `cargo run -p book -- make` writes what the book shows and nobody types.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use book::{generated, learner, repo};
use clap::Parser;
use lab::Chapter;

#[derive(Parser)]
#[command(name = "book")]
enum Cli {
    /// Write the drawings, and the diffs between chapters
    Make,
    /// Write the crate that a learner has at the end of a chapter
    Learner {
        /// The chapter, as `cargo lab check` calls it
        chapter: Chapter,
        /// Where the crate goes
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Make => make(),
        Cli::Learner { chapter, directory } => {
            learner::complete(chapter).and_then(|files| learner::write(&files, &directory))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("book: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn make() -> Result<()> {
    let mut wrong = Vec::new();
    for (path, text) in generated::all()? {
        match text {
            Ok(text) => repo::write(&path, &text)?,
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    for path in generated::strays()? {
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
