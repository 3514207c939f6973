//! The mdBook preprocessor: takes the book as JSON on stdin, and gives it back with the chapters' code in it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use items::console;
use items::glossary::{self, Glossary};
use items::include::Library;
use items::page::{Pages, Settings};
use items::title;
use serde_json::Value;

fn main() -> ExitCode {
    match fill() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("items: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fill() -> Result<()> {
    let input: Value =
        serde_json::from_reader(io::stdin()).context("reading the book that mdBook gives on stdin")?;
    let Value::Array(both) = input else { bail!("mdBook gives an array, and not this: {input}") };
    let Ok([context, mut book]) = <[Value; 2]>::try_from(both) else { bail!("mdBook gives two things") };
    let top = context["root"].as_str().context("mdBook does not say where the book is")?;
    let library = Library::new(&Path::new(top).join(".."));
    let mut pages = Pages::new(&library, settings(&context["config"]));
    let glossary = Glossary::new(text_of(glossary::PAGE, &book["items"]).unwrap_or_default());
    fill_items(&mut pages, &glossary, &mut book["items"])?;
    Ok(serde_json::to_writer(io::stdout().lock(), &book)
        .map_err(io::Error::from)
        .and_then(|()| io::stdout().flush())?)
}

fn settings(config: &Value) -> Settings {
    let read = config["preprocessor"]["items"]["read"].as_array().into_iter().flatten();
    Settings {
        repository: config["output"]["html"]["git-repository-url"].as_str().map(String::from),
        read: read.filter_map(|name| Some(name.as_str()?.to_string())).collect(),
    }
}

/// Chapters, as mdBook calls all pages, and those below them, in the order in which they are read.
fn fill_items(pages: &mut Pages<'_>, glossary: &Glossary, items: &mut Value) -> Result<()> {
    for item in items.as_array_mut().context("the book that mdBook gives has no pages")? {
        let Some(chapter) = item.get_mut("Chapter") else { continue }; // a line between parts, or a part's title
        // One without a path is only planned.
        if let (Some(path), Some(text)) = (chapter["path"].as_str(), chapter["content"].as_str()) {
            let name = path.trim_end_matches(".md");
            let text = glossary.explain(name, &pages.fill(name, text)?)?;
            chapter["content"] = title::dress(name, &console::dress(&text)).into();
        }
        fill_items(pages, glossary, &mut chapter["sub_items"])?;
    }
    Ok(())
}

/// The text of the page of this name.
fn text_of<'a>(name: &str, items: &'a Value) -> Option<&'a str> {
    items.as_array()?.iter().find_map(|item| {
        let chapter = item.get("Chapter")?;
        let is_it = chapter["path"].as_str().is_some_and(|path| path.trim_end_matches(".md") == name);
        if is_it { chapter["content"].as_str() } else { text_of(name, &chapter["sub_items"]) }
    })
}
