//! `cargo run -p book -- make` writes what the book shows and nobody types.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use book::{generated, repo};
use clap::Parser;

#[derive(Parser)]
#[command(name = "book")]
enum Cli {
    /// Write the drawings, and the diffs between chapters
    Make,
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Make => make(),
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
