//! `cargo lab book`: the book, made from this checkout and shown.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::chapter::repository;
use crate::grader::book::{ADDRESS, address};
use crate::grader::caller::{program_as, user_for};
use crate::see::tell;

/// The version that the book is made with.
const MDBOOK: &str = "0.5.4";

/// What `book` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A page, for example ch01-run
    #[arg(default_value = "index")]
    pub(crate) page: String,
    /// Give it to a browser at http://127.0.0.1:3000, and make it anew at each change, until Ctrl-C
    #[arg(long)]
    pub(crate) serve: bool,
}

/// The whole of `cargo lab book`.
pub(crate) fn book(arguments: &Arguments) -> Result<ExitCode> {
    let page = arguments.page.trim_end_matches(".md").trim_end_matches(".html");
    let is_page = page == "index" || repository().join(format!("book/src/{page}.md")).is_file();
    ensure!(is_page, "the book has no page {page:?}; {} lists them", address("index"));
    tell(&format!("on the web:   {}\n", if page == "index" { ADDRESS.to_string() } else { address(page) }))?;
    if !has_mdbook()? {
        tell(&format!(
            "on this disk: takes mdBook: cargo install mdbook --version {MDBOOK} (some minutes)\n"
        ))?;
        return Ok(ExitCode::FAILURE);
    }
    if arguments.serve {
        tell(&format!("served at:    http://127.0.0.1:3000/{page}.html until Ctrl-C\n"))?;
        let mut mdbook = mdbook(&["serve", "book", "--hostname", "127.0.0.1", "--port", "3000"])?;
        let status = mdbook.status().context("starting mdbook")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let output = mdbook(&["build", "book"])?.output().context("starting mdbook")?;
    ensure!(output.status.success(), "mdbook build: {}", String::from_utf8_lossy(&output.stderr).trim());
    let file = repository().join(format!("target/book-html/{page}.html"));
    ensure!(file.is_file(), "mdbook made no {}", file.display());
    let file = fs::canonicalize(file)?;
    tell(&format!("on this disk: file://{}\n", file.display()))?;
    if shown(&file)? {
        return Ok(ExitCode::SUCCESS);
    }
    tell("No display here: open that in a browser, or let `cargo lab book --serve` give it to one.\n")?;
    Ok(ExitCode::SUCCESS)
}

/// mdBook, as the user.
fn mdbook(arguments: &[&str]) -> Result<Command> {
    let mut mdbook = program_as("mdbook", &repository(), user_for(&repository())?.as_ref());
    mdbook.args(arguments);
    Ok(mdbook)
}

fn has_mdbook() -> Result<bool> {
    let mut mdbook = mdbook(&["--version"])?;
    Ok(mdbook.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()))
}

/// Opens it in the user's browser, if there is a display to do so.
fn shown(file: &PathBuf) -> Result<bool> {
    let has = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if !has("DISPLAY") && !has("WAYLAND_DISPLAY") {
        return Ok(false);
    }
    let mut open = program_as("xdg-open", &repository(), user_for(&repository())?.as_ref());
    let status = open.arg(file).stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(status.is_ok_and(|status| status.success()))
}
