//! `cargo run -p book -- make` writes what the book shows and nobody types.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use book::page::Page;
use book::{generated, habits, learner, measure, repo};
use clap::Parser;
use lab::Chapter;

#[derive(Parser)]
#[command(name = "book")]
enum Cli {
    /// Write the drawings, and the diffs between chapters
    Make,
    /// How long each page is to read and to type, what is over a limit, and turns that the text does without
    Words {
        /// Only what concerns pages with this in their names
        page: Option<String>,
    },
    /// Write the crate that a learner has at a stop of a chapter
    Learner {
        /// The chapter, as `cargo lab check` calls it
        chapter: Chapter,
        /// The stop [default: the chapter's end]
        #[arg(long)]
        stop: Option<usize>,
        /// Where the crate goes
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Make => make(),
        Cli::Words { page } => words(page.as_deref()),
        Cli::Learner { chapter, stop, directory } => {
            files(chapter, stop).and_then(|files| learner::write(&files, &directory))
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

fn files(chapter: Chapter, stop: Option<usize>) -> Result<learner::Files> {
    let Some(number) = stop else { return learner::complete(Some(chapter)) };
    let stops = learner::stops(chapter)?;
    let last = stops.last().map_or(0, |stop| stop.number);
    let found = stops.into_iter().find(|stop| stop.number == number);
    let found =
        found.with_context(|| format!("chapter {} has no stop {number}: its last is {last}", chapter.name()));
    Ok(found?.files)
}

fn words(page: Option<&str>) -> Result<()> {
    let mut measures = measure::all()?;
    let over = measure::over(&measures);
    let is_wanted = |text: &str| page.is_none_or(|page| text.contains(page));
    measures.pages.retain(|one| is_wanted(&one.page));
    measures.stretches.retain(|one| is_wanted(&one.to));
    print!("{}", measure::table(&measures)?);
    for line in over.into_iter().filter(|line| is_wanted(line)) {
        println!("OVER  {line}");
    }
    for one in Page::all()?.iter().filter(|one| is_wanted(&one.name)) {
        for (index, what) in habits::found(one) {
            println!("HABIT {}: {what}", one.place(index));
        }
    }
    Ok(())
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
