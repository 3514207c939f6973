//! The learner's crate, block by block: what is there, and where the next block goes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::source::{Kind, Lines, Source};
use crate::written::{Group, Place, Written};

/// What a learner has typed so far.
#[derive(Debug)]
pub struct Typed {
    /// By the path of the file in the repository.
    pub written: BTreeMap<String, Written>,
    /// The files of the learner's crate.
    files: BTreeSet<String>,
    /// Whose text `src/main.rs` has: a file of the repository.
    pub program: Option<String>,
}

/// What a learner does with a block.
#[derive(Debug)]
pub struct Step {
    /// The file of the learner's crate.
    pub file: String,
    /// Which parts go where.
    pub groups: Vec<Group>,
    /// Items of an earlier program that this one is without.
    pub gone: Vec<String>,
}

impl Default for Typed {
    /// Before the first page. The learner's crate begins with a program that does nothing yet.
    fn default() -> Typed {
        let files = ["src/lib.rs", "src/main.rs"].map(String::from).into();
        Typed { written: BTreeMap::new(), files, program: None }
    }
}

/// `ch01_run` and `src/exec.rs`.
pub fn chapter_and_file(path: &str) -> (&str, &str) {
    path.strip_prefix("chapters/").and_then(|rest| rest.split_once('/')).unwrap_or(("", path))
}

/// The file of the learner's crate that a chapter's file becomes: of its programs, each takes the place of another.
pub fn own_file(path: &str) -> &str {
    match chapter_and_file(path).1 {
        file if file.starts_with("examples/") => "src/main.rs",
        file => file,
    }
}

impl Typed {
    /// Takes in a file that was written on other pages.
    pub fn take(&mut self, source: Rc<Source>, written: Written) {
        let file = own_file(&source.path).to_string();
        if file == "src/main.rs" {
            self.program = Some(source.path.clone());
        }
        self.files.insert(file);
        self.written.insert(source.path.clone(), written);
    }

    /// Takes in a block. `on_page` is all that the page has of the file.
    pub fn step(&mut self, source: &Rc<Source>, lines: &Lines, on_page: &Lines) -> Step {
        let file = own_file(&source.path).to_string();
        let is_program = file == "src/main.rs";
        let mut gone = Vec::new();
        let is_there = !self.files.insert(file.clone());
        let all = |place| {
            let has = |index: &usize| source.has(lines, &source.parts[*index]);
            vec![Group { parts: (0..source.parts.len()).filter(has).collect(), place }]
        };
        let is_next_program = is_program && self.program.as_ref() != Some(&source.path);
        if is_next_program {
            // A program that a page has all of is written from the start. Of another, the page has what changes.
            let earlier = self.program.as_ref().and_then(|path| self.written.get(path));
            let is_whole = source.taught().is_subset(on_page);
            if let Some(earlier) = earlier.filter(|_| !is_whole) {
                let (written, left_out) = Written::change_of(source.clone(), earlier);
                gone = left_out;
                if source.has_head(lines) {
                    gone.retain(|name| !name.starts_with("use ")); // with all that stood above the first item
                }
                self.written.insert(source.path.clone(), written);
            } else {
                self.written.remove(&source.path);
            }
            self.program = Some(source.path.clone());
        }
        let groups = match self.written.get(&source.path) {
            Some(written) if lines.is_subset(&written.lines) => all(Place::OnceMore),
            Some(written) => written.groups(lines),
            None if file == "src/lib.rs" => all(Place::End),
            None if is_there => all(Place::Whole),
            None => all(Place::NewFile),
        };
        let written = self.written.entry(source.path.clone()).or_insert_with(|| Written::new(source.clone()));
        written.add(lines);
        Step { file, groups, gone }
    }
}

impl Step {
    /// Where the block goes, as words behind the file's name.
    pub fn words(&self, source: &Source) -> String {
        let named = |group: &Group| {
            let names = names(source, &group.parts);
            // Not "the `use` lines below the `use` lines".
            let are_uses = group.place == Place::Uses && names == USES;
            if are_uses { format!("{USES} below those there") } else { format!("{names} {}", group.place) }
        };
        let mut words = match self.groups.as_slice() {
            [] => String::new(),
            // What takes the place of something is said by name.
            [one] if !matches!(one.place, Place::Same(_)) => format!(", {}", one.place),
            many => format!(": {}", many.iter().map(named).collect::<Vec<_>>().join("; ")),
        };
        if !self.gone.is_empty() {
            let gone: Vec<_> = self.gone.iter().map(|name| format!("`{name}`")).collect();
            words += &format!("; {} {}", listed(&gone), if gone.len() == 1 { "goes" } else { "go" });
        }
        words
    }
}

const USES: &str = "the `use` lines";

/// What a sentence calls some parts.
fn names(source: &Source, parts: &[usize]) -> String {
    let parts: Vec<_> = parts.iter().map(|index| &source.parts[*index]).collect();
    let mut names = Vec::new();
    let lines: Lines = parts.iter().flat_map(|part| part.lines.clone()).collect();
    let mut uses: Vec<_> = parts.iter().filter(|part| part.kind == Kind::Use).collect();
    if parts.iter().any(|part| part.kind == Kind::Docs) {
        let is_all = !uses.is_empty() && source.has_head(&lines);
        names.push(if is_all { "all above the first item" } else { "the first lines" }.to_string());
        if is_all {
            uses.clear();
        }
    }
    match uses.as_slice() {
        [] => {}
        [one] => names.push(format!("`{}`", one.name())),
        _ => names.push(USES.to_string()),
    }
    let items: Vec<_> = parts.iter().filter(|part| part.kind == Kind::Item).collect();
    let frame = items.first().and_then(|part| part.frame.clone());
    let is_one_impl = frame.is_some() && items.iter().all(|part| part.frame == frame);
    for part in items {
        let name = part.name();
        let name = if is_one_impl { name.rsplit("::").next().unwrap_or(name) } else { name };
        names.push(format!("`{name}`"));
    }
    listed(&names)
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
