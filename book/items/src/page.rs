//! Puts the code into a page, and above each block where it goes.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

use crate::include::{self, Include, Library};
use crate::source::{Lines, Source};
use crate::stop::Stops;
use crate::typed::{Typed, chapter_and_file};

/// What `book.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where the repository is on the web.
    pub repository: Option<String>,
    /// Pages of chapters that are read, not typed.
    pub read: Vec<String>,
}

/// The pages of a book, one after the other: what earlier ones included decides where something new goes.
#[derive(Debug)]
pub struct Pages<'a> {
    library: &'a Library,
    settings: Settings,
    typed: Typed,
    stops: Stops,
    /// All that the page has of each file.
    on_page: BTreeMap<String, Lines>,
}

impl Pages<'_> {
    /// Before the first page.
    pub fn new(library: &Library, settings: Settings) -> Pages<'_> {
        let (typed, stops, on_page) = (Typed::default(), Stops::default(), BTreeMap::new());
        Pages { library, settings, typed, stops, on_page }
    }

    /// The text of the next page with its code. `name` is that of its file, without `.md`.
    pub fn fill(&mut self, name: &str, text: &str) -> Result<String> {
        self.on_page = self.library.on_page(text);
        let mut out = String::new();
        let mut fence: Option<&str> = None;
        let mut block: Vec<Include> = Vec::new();
        let mut is_rust = false;
        let mut opening = "";
        for (index, line) in text.lines().enumerate() {
            let place = || format!("book/src/{name}.md:{}", index + 1);
            let marks = line.trim_start();
            let (ticks, info) = marks.split_at(marks.len() - marks.trim_start_matches('`').len());
            match fence {
                None if ticks.len() >= 3 => {
                    is_rust = info.split(',').next().is_some_and(|word| word.trim() == "rust");
                    (fence, opening) = (Some(ticks), line);
                    if is_rust {
                        continue; // the caption goes above it
                    }
                }
                Some(open) if ticks.len() >= open.len() && info.trim().is_empty() => {
                    if is_rust {
                        out += &self.block(name, opening, &block).with_context(place)?;
                    }
                    block.clear();
                    (fence, is_rust) = (None, false);
                }
                _ if is_rust => {
                    match include::item(line) {
                        Some(inside) => block.push(self.library.include(inside).with_context(place)?),
                        None => ensure!(
                            line.is_empty(),
                            "{}: a block of Rust holds {{{{#item …}}}} lines only, and not {line:?}",
                            place()
                        ),
                    }
                    continue;
                }
                None if include::mark(line, "stop").is_some() => {
                    out += &self.stops.next(name, include::mark(line, "stop").unwrap_or_default());
                    out.push('\n');
                    continue;
                }
                None if include::mark(line, "new").is_some() => continue,
                _ if line.contains("{{#item") => {
                    bail!("{}: {{{{#item …}}}} stands in a block of Rust, on a line of its own", place());
                }
                _ => {}
            }
            out += line;
            out.push('\n');
        }
        Ok(out)
    }

    /// The caption, the opening fence and the code.
    fn block(&mut self, page: &str, opening: &str, includes: &[Include]) -> Result<String> {
        let first = includes.first().context("a block of Rust with nothing in it")?;
        let source = &first.source;
        let stray = includes.iter().find(|include| include.source.path != source.path);
        if let Some(stray) = stray {
            bail!("one block has code of {} and of {}", source.path, stray.source.path);
        }
        let lines: Lines = includes.iter().flat_map(|include| include.lines.iter().copied()).collect();
        let texts: Vec<_> = includes.iter().map(|include| source.text(&include.lines)).collect();
        let code = texts.join("\n");
        ensure!(!code.contains("{{#"), "{} has a `{{{{#`, which mdBook would take for its own", source.path);
        let caption = self.caption(page, source, &lines);
        let indent = &opening[..opening.len() - opening.trim_start().len()];
        Ok(format!("{indent}{caption}\n\n{opening}\n{code}"))
    }

    fn caption(&mut self, page: &str, source: &Rc<Source>, lines: &Lines) -> String {
        let chapter = chapter_and_file(&source.path).0;
        let (file, place, at) = if self.is_typed(page, source, lines) {
            let on_page = self.on_page.get(&source.path).unwrap_or(lines);
            let step = self.typed.step(source, lines, on_page);
            let words = step.words(source);
            (step.file, words, format!("{chapter}, "))
        } else {
            (source.path.clone(), String::new(), String::new())
        };
        let links = self.links(&source.path, &runs(source, lines));
        format!(
            "<p class=\"place\"><span><code>{file}</code>{}</span> <small>{at}{links}</small></p>",
            html(&place)
        )
    }

    /// Whether learners type a block.
    fn is_typed(&self, page: &str, source: &Source, lines: &Lines) -> bool {
        let is_read = self.settings.read.iter().any(|name| name == page);
        !is_read && self.library.is_typed(page, source, lines)
    }

    fn links(&self, path: &str, runs: &[(usize, usize)]) -> String {
        let link = |&(first, last): &(usize, usize)| {
            let (text, anchor) = match (first + 1, last + 1) {
                (first, last) if first == last => (format!("{first}"), format!("L{first}")),
                (first, last) => (format!("{first}–{last}"), format!("L{first}-L{last}")),
            };
            match &self.settings.repository {
                Some(base) => format!("<a href=\"{base}/blob/main/{path}#{anchor}\">{text}</a>"),
                None => text,
            }
        };
        let word = if matches!(runs, [(first, last)] if first == last) { "line" } else { "lines" };
        format!("{word} {}", runs.iter().map(link).collect::<Vec<_>>().join(", "))
    }
}

/// First and last of lines that follow one another, but for empty ones. A brace that only closes an `impl` is none.
fn runs(source: &Source, lines: &Lines) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &line in lines.iter().filter(|line| !source.lines[**line].trim().is_empty()) {
        match runs.last_mut() {
            Some((_, last))
                if source.lines[*last + 1..line].iter().all(|between| between.trim().is_empty()) =>
            {
                *last = line;
            }
            _ => runs.push((line, line)),
        }
    }
    let named: Lines = source.parts.iter().flat_map(|part| part.lines.clone()).collect();
    runs.retain(|(first, last)| (*first..=*last).any(|line| named.contains(&line)));
    runs
}

/// Text with code spans as HTML.
fn html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_string() })
        .collect()
}
