//! What a page writes to include code, and the file that it means.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

use crate::source::{Kind, Lines, Source};
use crate::typed::chapter_and_file;

/// What `{{#item …}}` stands for.
#[derive(Debug, Clone)]
pub struct Include {
    /// The file.
    pub source: Rc<Source>,
    /// Its lines.
    pub lines: Lines,
}

/// The inside of an `{{#item …}}` that a line consists of.
pub fn item(line: &str) -> Option<&str> {
    Some(line.trim().strip_prefix("{{#item ")?.strip_suffix("}}")?.trim())
}

/// The value of a mark such as `<!-- stop: pid1 -->`, if this line is one.
pub fn mark<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let inside = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    let rest = inside.strip_prefix(name)?;
    if rest.is_empty() { Some("") } else { Some(rest.strip_prefix(':')?.trim()) }
}

/// The chapters' files, each read once.
#[derive(Debug)]
pub struct Library {
    root: PathBuf,
    sources: RefCell<BTreeMap<String, Rc<Source>>>,
}

impl Library {
    /// The chapters of the repository whose top this is.
    pub fn new(root: &Path) -> Library {
        Library { root: root.to_path_buf(), sources: RefCell::default() }
    }

    /// Reads a file, given by its path below the top.
    pub fn source(&self, path: &str) -> Result<Rc<Source>> {
        if let Some(source) = self.sources.borrow().get(path) {
            return Ok(source.clone());
        }
        let text = fs::read_to_string(self.root.join(path)).with_context(|| format!("reading {path}"))?;
        let source = Rc::new(Source::parse(path, &text)?);
        self.sources.borrow_mut().insert(path.to_string(), source.clone());
        Ok(source)
    }

    /// What stands inside `{{#item …}}`: `crate::module::name`, or `crate::module: name, name`.
    pub fn include(&self, inside: &str) -> Result<Include> {
        let (source, names) = match inside.split_once(": ") {
            Some((module, names)) => (self.module(module.trim())?, names.split(',').map(str::trim).collect()),
            None => self.longest_module(inside)?,
        };
        let source = self.source(&source)?;
        let mut lines = Lines::new();
        for name in names {
            lines.extend(source.lines_of(name)?);
        }
        Ok(Include { source, lines })
    }

    /// All lines that a page includes, by file. What does not exist is left out.
    pub fn on_page(&self, text: &str) -> BTreeMap<String, Lines> {
        let mut all: BTreeMap<String, Lines> = BTreeMap::new();
        for include in text.lines().filter_map(item).filter_map(|inside| self.include(inside).ok()) {
            all.entry(include.source.path.clone()).or_default().extend(include.lines);
        }
        all
    }

    /// The names of the chapters' crates.
    pub fn chapters(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("chapters")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| number(name).is_some()).collect()
    }

    /// The crate that a page is about: `ch04-overlay-more` is about ch04_overlay, and `ch01-ended-well` about ch01_run,
    /// because no other has its number.
    pub fn chapter_of(&self, page: &str) -> Option<String> {
        let page = page.replace('-', "_");
        let starts = |name: &&String| {
            page.strip_prefix(name.as_str()).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let chapters = self.chapters();
        if let Some(whole) = chapters.iter().filter(starts).max_by_key(|name| name.len()) {
            return Some(whole.clone());
        }
        let mut same =
            chapters.into_iter().filter(|name| number(&page).is_some() && number(name) == number(&page));
        match (same.next(), same.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// Whether learners type a block on a page, if that is for typing at all. A library has its docs at the top; the
    /// learner's own has others.
    pub fn is_typed(&self, page: &str, source: &Source, lines: &Lines) -> bool {
        let (chapter, file) = chapter_and_file(&source.path);
        let is_head = file == "src/lib.rs"
            && source.parts.iter().all(|part| part.kind == Kind::Docs || !source.has(lines, part));
        self.chapter_of(page).is_some_and(|own| own == chapter) && !is_head
    }

    /// The file of a module.
    fn module(&self, module: &str) -> Result<String> {
        let paths = paths(module)?;
        let found = paths.iter().find(|path| self.root.join(path).is_file());
        found.cloned().with_context(|| format!("no module {module}: there is no {}", paths.join(", and no ")))
    }

    /// Where module and name are not told apart: as much as possible is the module.
    fn longest_module<'a>(&self, path: &'a str) -> Result<(String, Vec<&'a str>)> {
        for (at, _) in path.rmatch_indices("::") {
            if let Ok(file) = self.module(&path[..at]) {
                return Ok((file, vec![&path[at + 2..]]));
            }
        }
        bail!("{path:?} is not `crate::module::name`, nor `crate::module: name, name`");
    }
}

/// `ch04` of `ch04_overlay`, if it is that of a chapter.
fn number(name: &str) -> Option<&str> {
    let first = name.split('_').next()?;
    first.strip_prefix("ch").filter(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

/// The files that a module may be in: those of a library, `main` and `examples::name`.
fn paths(module: &str) -> Result<Vec<String>> {
    let parts: Vec<_> = module.split("::").collect();
    let is_name = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    ensure!(parts.iter().all(is_name), "{module:?} is no module");
    let (chapter, rest) = (parts[0], parts[1..].join("/"));
    Ok(match parts[1..] {
        [] => vec![format!("chapters/{chapter}/src/lib.rs")],
        ["examples", ..] => vec![format!("chapters/{chapter}/{rest}.rs")],
        _ => {
            vec![format!("chapters/{chapter}/src/{rest}.rs"), format!("chapters/{chapter}/src/{rest}/mod.rs")]
        }
    })
}
