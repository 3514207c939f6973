//! The crate that a learner has made by some point of the book: the template, and what has been typed by then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use items::include::{self, Include, Library};
use items::source::Source;
use items::stop;
use items::typed::{Typed, chapter_and_file, own_file};
use items::written::Written;
use lab::Chapter;
use similar::TextDiff;

use crate::draft::{self, Draft};
use crate::markdown::{self, Heading};
use crate::page::Page;
use crate::repo;
use crate::sources::{self, library};

/// In the template, what chapters bring goes above this line of `main.rs`, and the line stays.
const MAIN_MARK: &str = "// ==== your program ends here";

/// The files of a crate, by their paths in it.
pub type Files = BTreeMap<PathBuf, String>;

/// A place where the learner can run what is typed by then.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The chapter, and which of its stops.
    pub chapter: Chapter,
    /// Counted through the chapter's pages.
    pub number: usize,
    /// The page's name, and the section of it.
    pub page: String,
    /// The heading above it.
    pub heading: Heading,
    /// The page, and the number of the line.
    pub place: String,
    /// The file of the repository that `src/main.rs` is by then.
    pub program: String,
    /// The checks that turn green here.
    pub ids: Vec<String>,
    /// The crate of someone who does what the captions say.
    pub typed: Files,
    /// The crate with all lines in the order of the chapters' own files.
    pub files: Files,
    /// Where these two differ by more than empty lines, and how.
    pub differences: Vec<String>,
    /// Whether the chapter has code after it.
    pub is_last: bool,
}

/// A chapter's block of Rust on one of its pages.
#[derive(Debug)]
pub struct Block {
    /// The line of its first include.
    pub index: usize,
    /// The file, and the lines of it.
    pub include: Include,
}

/// What a page's lines are to someone who types along.
#[derive(Debug)]
pub enum Event {
    /// Something to type.
    Block(Block),
    /// `<!-- stop: … -->`, with the line's index and the checks.
    Stop(usize, Vec<String>),
    /// `<!-- new: … -->`
    New(usize, Vec<String>),
}

/// What a page has for someone who types along, in its order.
pub fn events(library: &Library, page: &Page) -> Result<Vec<Event>> {
    let blocks = page.blocks();
    let mut events = Vec::new();
    for (index, line) in page.lines.iter().enumerate() {
        let block = blocks.iter().find(|block| (block.start..block.end).contains(&index));
        if let Some(block) = block.filter(|block| block.start == index && block.is("rust")) {
            let mut all: Option<Include> = None;
            for line in &page.lines[block.start..block.end] {
                let Some(inside) = include::item(line) else { continue };
                let one = library.include(inside).with_context(|| page.place(index))?;
                match &mut all {
                    Some(all) => all.lines.extend(one.lines),
                    None => all = Some(one),
                }
            }
            let is_typed = |include: &Include| library.is_typed(&page.name, &include.source, &include.lines);
            events.extend(all.filter(is_typed).map(|include| Event::Block(Block { index, include })));
        } else if block.is_none() {
            let words = |text: &str, end: char| -> Vec<String> {
                text.split(end).map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
            };
            events.extend(Page::mark(line, "stop").map(|ids| Event::Stop(index, words(ids, ' '))));
            events.extend(Page::mark(line, "new").map(|ideas| Event::New(index, words(ideas, ','))));
        }
    }
    Ok(events)
}

/// Someone who types along.
#[derive(Debug)]
pub struct Learner {
    /// What the book knows of it.
    pub typed: Typed,
    /// What the learner has.
    pub draft: Draft,
    /// The program that the present one takes the place of.
    earlier_program: String,
}

impl Learner {
    /// Before a chapter: all that the earlier ones end with is there.
    pub fn before(library: &Library, chapter: Chapter) -> Result<Learner> {
        let (mut typed, mut draft) = (Typed::default(), Draft::default());
        for earlier in Chapter::typed().filter(|earlier| *earlier != chapter && chapter.includes(*earlier)) {
            for source in of_the_end(library, earlier)? {
                let written = Written::whole(source.clone());
                let file = own_file(&source.path).to_string();
                let text = draft.0.entry(file.clone()).or_default();
                *text = if file == "src/lib.rs" {
                    format!("{text}{}", without_docs(&written.text()))
                } else {
                    written.text()
                };
                typed.take(source, written);
            }
        }
        Ok(Learner { typed, draft, earlier_program: String::new() })
    }

    /// Types a block, and says what it does.
    pub fn type_in(&mut self, block: &Block, page: &Page, library: &Library) -> Result<()> {
        let Include { source, lines } = &block.include;
        if own_file(&source.path) == "src/main.rs" && self.typed.program.as_ref() != Some(&source.path) {
            self.earlier_program = self.draft.0.get("src/main.rs").cloned().unwrap_or_default();
        }
        let on_page = library.on_page(&page.lines.join("\n"));
        let step = self.typed.step(source, lines, on_page.get(&source.path).unwrap_or(lines));
        self.draft.apply(&step, source).with_context(|| {
            format!("{}: {}{}: nobody can do that", page.place(block.index), step.file, step.words(source))
        })
    }

    /// The text of the program whose place this one takes, or has taken.
    pub fn replaced(&self, path: &str) -> &str {
        let now = self.draft.0.get("src/main.rs").map_or("", String::as_str);
        if self.typed.program.as_deref() == Some(path) { &self.earlier_program } else { now }
    }

    /// The files by the order that they have in the repository.
    fn in_order(&self) -> Draft {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for (path, written) in &self.typed.written {
            let file = own_file(path);
            if file == "src/lib.rs" {
                *files.entry(file.to_string()).or_default() += &without_docs(&written.text());
            } else if file != "src/main.rs" || self.typed.program.as_ref() == Some(path) {
                files.insert(file.to_string(), written.text());
            }
        }
        Draft(files)
    }

    /// Where what the captions led to is not what the chapter's own files have.
    fn differences(&self) -> Vec<String> {
        let right = self.in_order();
        let mut wrong = Vec::new();
        for (file, text) in &self.draft.0 {
            let ought = right.0.get(file).map(String::as_str).unwrap_or_default();
            match (draft::compared(file, text), draft::compared(file, ought)) {
                (Ok(one), Ok(other)) if one == other => {}
                (Ok(one), Ok(other)) => wrong.push(format!(
                    "{file}: who does what the captions say has this:\n{}",
                    TextDiff::from_lines(&other, &one).unified_diff().header("right", "typed")
                )),
                (Err(error), _) | (_, Err(error)) => wrong.push(format!("{file}: {error:#}")),
            }
        }
        wrong
    }
}

/// Without the `//!` lines at the top, which speak of the chapter.
fn without_docs(text: &str) -> String {
    let rest = text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    rest.map(|line| format!("{line}\n")).collect()
}

/// What stays of a chapter: its library and its program, without the programs on the way there.
fn of_the_end(library: &Library, chapter: Chapter) -> Result<Vec<std::rc::Rc<Source>>> {
    let mut sources = sources::of_chapter(library, chapter)?;
    sources.retain(|source| !chapter_and_file(&source.path).1.starts_with("examples/"));
    Ok(sources)
}

/// A chapter's stops, in the order of its pages.
pub fn stops(chapter: Chapter) -> Result<Vec<Stop>> {
    let library = library();
    let mut learner = Learner::before(&library, chapter)?;
    let mut stops: Vec<Stop> = Vec::new();
    for page in Page::of_chapter(chapter)? {
        let headings = markdown::headings(&page);
        for event in events(&library, &page)? {
            match event {
                Event::Block(block) => {
                    learner.type_in(&block, &page, &library)?;
                    stops.iter_mut().for_each(|stop| stop.is_last = false);
                }
                Event::New(..) => {}
                Event::Stop(index, ids) => {
                    let above = headings.iter().rfind(|heading| heading.line < index);
                    stops.push(Stop {
                        chapter,
                        number: stops.len() + stop::first(chapter.name()),
                        page: page.name.clone(),
                        heading: above.context("a stop above the page's title")?.clone(),
                        place: page.place(index),
                        program: learner.typed.program.clone().unwrap_or_default(),
                        ids,
                        typed: assemble(&learner.draft)?,
                        files: assemble(&learner.in_order())?,
                        differences: learner.differences(),
                        is_last: true,
                    });
                }
            }
        }
    }
    Ok(stops)
}

/// The template's files.
fn template() -> Result<Files> {
    let mut files = BTreeMap::new();
    for file in repo::files()? {
        if let Ok(name) = file.strip_prefix("chapters/lab/template/") {
            files.insert(name.to_path_buf(), lab::filled_in(&repo::read(&repo::root().join(&file))?));
        }
    }
    Ok(files)
}

/// The crate's files: the template's, and over them what has been typed.
fn assemble(draft: &Draft) -> Result<Files> {
    let mut files = template()?;
    for (name, text) in &draft.0 {
        let old = files.remove(Path::new(name)).unwrap_or_default();
        let text = match name.as_str() {
            "src/lib.rs" => format!("{old}\n{text}"),
            "src/main.rs" => {
                let (_, tail) = old
                    .split_once(MAIN_MARK)
                    .with_context(|| format!("the template's src/main.rs has no {MAIN_MARK:?}"))?;
                format!("{text}\n{MAIN_MARK}{tail}")
            }
            _ => text.clone(),
        };
        files.insert(name.into(), text);
    }
    Ok(files)
}

/// The crate as it is at the end of a chapter, with its code taken from the sources: all lines, whatever the pages
/// have of them. Before the first chapter, the template.
pub fn complete(chapter: Option<Chapter>) -> Result<Files> {
    let library = library();
    let Some(chapter) = chapter else { return template() };
    let mut learner = Learner::before(&library, chapter)?;
    let names: Vec<_> = learner.typed.written.keys().cloned().collect();
    for source in of_the_end(&library, chapter)? {
        let (file, path) = (own_file(&source.path).to_string(), source.path.clone());
        let taken = names
            .iter()
            .find(|other| own_file(other) == file && !["src/lib.rs", "src/main.rs"].contains(&&*file));
        ensure!(taken.is_none(), "{path}: an earlier chapter has a {file} too");
        let written = Written::whole(source.clone());
        learner.typed.take(source, written);
    }
    assemble(&learner.in_order())
}

/// The chapter before this one, of those that are typed.
pub fn earlier(chapter: Chapter) -> Option<Chapter> {
    Chapter::typed().filter(|other| *other != chapter && chapter.includes(*other)).last()
}

/// Where crates are built: in few places, so that cargo compiles the crates that they use only once in each. Those who have
/// the same `number` take turns.
pub fn place(number: usize) -> Result<PathBuf> {
    let name = if number == 0 { "learner".to_string() } else { format!("learner-{number}") };
    let directory = repo::root().join("target").join(name);
    repo::write(&directory.join("Cargo.lock"), &repo::read(&repo::root().join("Cargo.lock"))?)?;
    Ok(directory)
}

/// Gives another place what is built in the first one, unless it has something of its own.
pub fn fill(number: usize) -> Result<()> {
    let (from, to) = (place(0)?.join("target"), place(number)?.join("target"));
    if to.exists() {
        return Ok(());
    }
    built(&complete(None)?, &place(0)?)?.map_err(|errors| anyhow!("the template: {errors}"))?;
    repo::copy(&from, &to)
}

/// Whoever has this may build in the first place. What another thread has panicked of is its own matter.
pub fn building() -> MutexGuard<'static, ()> {
    static BUILDING: Mutex<()> = Mutex::new(());
    BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Builds a crate there, with the versions of this workspace. Returns its program, or what the compiler says.
pub fn built(files: &Files, directory: &Path) -> Result<Result<PathBuf, String>> {
    write(files, directory)?;
    Ok(cargo("build", directory)?.map(|()| directory.join("target/debug/byhand")))
}

/// Runs cargo there. Returns what it says, if it fails.
pub fn cargo(verb: &str, directory: &Path) -> Result<Result<(), String>> {
    let mut cargo = lab::cargo_as_owner(directory)?;
    cargo.args([verb, "--quiet", "--offline"]);
    cargo.env("CARGO_TARGET_DIR", directory.join("target")).env("CARGO_TERM_COLOR", "never");
    let output = cargo.env_remove("RUSTFLAGS").output().context("starting cargo")?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said()) })
}

/// Writes a crate's files. What else is in the directory's `src` goes.
pub fn write(files: &Files, directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory.join("src")).into_iter().flatten().flatten() {
        if !files.contains_key(&Path::new("src").join(entry.file_name())) {
            fs::remove_file(entry.path()).with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    for (name, text) in files {
        repo::write(&directory.join(name), text)?;
    }
    Ok(())
}
