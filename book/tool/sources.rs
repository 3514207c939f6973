//! The anchors in the chapters' sources, by which pages include code.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lab::Chapter;

use crate::repo;

/// A source file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path below the top of the repository.
    pub path: PathBuf,
    /// All its lines, those of anchors too.
    pub lines: Vec<String>,
    /// Its anchors, in the order in which they begin.
    pub anchors: Vec<Anchor>,
}

/// A named part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// As pages write it behind the colon.
    pub name: String,
    /// Index of the line after `ANCHOR`.
    pub start: usize,
    /// Index of the line with `ANCHOR_END`.
    pub end: usize,
}

/// The anchor that a line begins or ends, if it is nothing but that.
fn mark<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    Some(line.trim().strip_prefix("//")?.trim().strip_prefix(word)?.trim())
}

/// Whether a line only serves pages, and is no line of the code.
pub fn is_anchor(line: &str) -> bool {
    mark(line, "ANCHOR:").is_some() || mark(line, "ANCHOR_END:").is_some()
}

impl Source {
    /// Reads a file. Each anchor must have a good name, of its own, and an end.
    pub fn read(path: &str) -> Result<Source> {
        let lines: Vec<_> = repo::read(&repo::root().join(path))?.lines().map(String::from).collect();
        let mut anchors: Vec<Anchor> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let place = format!("{path}:{}", index + 1);
            ensure!(
                is_anchor(line) == line.contains("ANCHOR"),
                "{place}: an anchor stands on a line of its own"
            );
            if let Some(name) = mark(line, "ANCHOR:") {
                let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                ensure!(
                    !name.is_empty() && name.chars().all(snake),
                    "{place}: {name:?} is not in snake_case"
                );
                ensure!(anchors.iter().all(|other| other.name != name), "{place}: a second anchor {name}");
                anchors.push(Anchor { name: name.to_string(), start: index + 1, end: 0 });
            }
            if let Some(name) = mark(line, "ANCHOR_END:") {
                let open = anchors.iter_mut().find(|anchor| anchor.name == name && anchor.end == 0);
                open.with_context(|| format!("{place}: the end of {name}, which has not begun"))?.end = index;
            }
        }
        if let Some(open) = anchors.iter().find(|anchor| anchor.end == 0) {
            anyhow::bail!("{path}: the anchor {} has no end", open.name);
        }
        Ok(Source { path: PathBuf::from(path), lines, anchors })
    }

    /// A chapter's sources: lib.rs, its modules, args.rs, main.rs.
    pub fn of_chapter(chapter: Chapter) -> Result<Vec<Source>> {
        let top = format!("chapters/{}/src/", chapter.package());
        let files = repo::files()?.into_iter().filter_map(|file| file.to_str().map(String::from));
        files
            .filter(|file| file.starts_with(&top) && file.ends_with(".rs"))
            .map(|file| Source::read(&file))
            .collect()
    }

    /// The anchor of this name.
    pub fn anchor(&self, name: &str) -> Result<&Anchor> {
        let found = self.anchors.iter().find(|anchor| anchor.name == name);
        found.with_context(|| format!("{} has no anchor {name:?}", self.path.display()))
    }

    /// Indexes of the lines that learners type: no anchors, no tests.
    pub fn taught(&self) -> Vec<usize> {
        let tests =
            self.lines.iter().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(self.lines.len());
        (0..tests).filter(|index| !is_anchor(&self.lines[*index])).collect()
    }

    /// The file without anchors.
    pub fn plain(&self) -> String {
        self.lines.iter().filter(|line| !is_anchor(line)).map(|line| format!("{line}\n")).collect()
    }
}
