//! One page of the book: its lines, its fenced blocks, its marks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::Chapter;

use crate::repo;

/// A Markdown file.
#[derive(Debug, Clone)]
pub struct Page {
    /// The whole path.
    pub path: PathBuf,
    /// `ch01-run`.
    pub name: String,
    /// Its lines, without their ends.
    pub lines: Vec<String>,
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence, as in `console,second`, split at the commas.
    pub info: Vec<String>,
    /// Index of the first line inside the fence, in [`Page::lines`].
    pub start: usize,
    /// Index of the closing fence.
    pub end: usize,
}

impl Block {
    /// Whether the info string has this word.
    pub fn is(&self, word: &str) -> bool {
        self.info.iter().any(|one| one == word)
    }
}

impl Page {
    /// Reads a page.
    pub fn read(path: &Path) -> Result<Page> {
        let text = repo::read(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Page { path: path.to_path_buf(), name, lines: text.lines().map(String::from).collect() })
    }

    /// All pages that SUMMARY.md names, in its order.
    pub fn all() -> Result<Vec<Page>> {
        let summary = repo::read(&repo::pages().join("SUMMARY.md"))?;
        let names = summary.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        names.filter(|name| !name.is_empty()).map(|name| Page::read(&repo::pages().join(name))).collect()
    }

    /// The page of this name.
    pub fn named(name: &str) -> Result<Page> {
        let pages = Page::all()?;
        pages.into_iter().find(|page| page.name == name).with_context(|| format!("no page {name}"))
    }

    /// The pages of a chapter, in their order.
    pub fn of_chapter(chapter: Chapter) -> Result<Vec<Page>> {
        chapter.pages().iter().map(|name| Page::named(name)).collect()
    }

    /// Its fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, Block)> = None;
        for (index, line) in self.lines.iter().enumerate() {
            let text = line.trim_start();
            let fence_end = text.find(|c| c != '`').unwrap_or(text.len());
            let (fence, rest) = text.split_at(fence_end);
            match &mut open {
                None if fence.len() >= 3 => {
                    let info = rest.trim().split(',').map(|word| word.trim().to_string()).collect();
                    open = Some((fence, Block { info, start: index + 1, end: index + 1 }));
                }
                Some((opening, block)) if fence.len() >= opening.len() && rest.trim().is_empty() => {
                    block.end = index;
                    blocks.push(block.clone());
                    open = None;
                }
                _ => {}
            }
        }
        blocks
    }

    /// The value of a mark such as `<!-- varies: pid -->`, if this line is one.
    pub fn mark<'a>(line: &'a str, name: &str) -> Option<&'a str> {
        let inside = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        let rest = inside.strip_prefix(name)?;
        if rest.is_empty() { Some("") } else { Some(rest.strip_prefix(':')?.trim()) }
    }

    /// Its file's name and a line's number, as people count them.
    pub fn place(&self, index: usize) -> String {
        format!("book/src/{}.md:{}", self.name, index + 1)
    }

    /// Writes the lines back.
    pub fn write(&self) -> Result<()> {
        repo::write(&self.path, &self.text())
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences() {
        let text = "a\n```console,second\n$ x\n```\n````\n```\n````\n";
        let lines = text.lines().map(String::from).collect();
        let page = Page { path: PathBuf::new(), name: String::new(), lines };
        let blocks = page.blocks();
        assert_eq!(blocks.len(), 2);
        assert!(blocks[0].is("console") && blocks[0].is("second"));
        assert_eq!((blocks[0].start, blocks[0].end), (2, 3));
        assert_eq!((blocks[1].start, blocks[1].end), (5, 6));
    }

    #[test]
    fn marks() {
        assert_eq!(Page::mark("<!-- varies: pid -->", "varies"), Some("pid"));
        assert_eq!(Page::mark("<!-- stop -->", "stop"), Some(""));
        assert_eq!(Page::mark("<!-- stopped -->", "stop"), None);
    }
}
