//! The crate that a learner has made by some point of the book: the template with all lines included so far.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use items::include::{self, Include};
use items::written::Written;
use lab::Chapter;

use crate::page::Page;
use crate::repo;
use crate::sources::{self, library};

/// In the template, what chapters bring goes above this line of `main.rs`, and the line stays.
const MAIN_MARK: &str = "// ==== your program ends here";

/// A place where the learner can compile.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The page, and the index of the line.
    pub place: String,
    /// The page's name.
    pub page: &'static str,
    /// The files below the crate's directory, as they are then.
    pub files: BTreeMap<PathBuf, String>,
    /// Whether the chapter has code after it.
    pub is_last: bool,
}

/// Without the `//!` lines at the top, which speak of the chapter.
fn without_head(text: &str) -> String {
    let rest = text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    rest.map(|line| format!("{line}\n")).collect()
}

/// All stops of the pages, in their order.
pub fn stops() -> Result<Vec<Stop>> {
    let library = library();
    let mut typed: BTreeMap<String, Written> = BTreeMap::new();
    let mut stops = Vec::new();
    for chapter in Chapter::typed() {
        let page = Page::named(chapter.page())?;
        let blocks = page.blocks();
        let in_block = |index: usize, word: &str| {
            blocks.iter().any(|block| block.is(word) && (block.start..block.end).contains(&index))
        };
        let code = (0..page.lines.len()).rfind(|index| include::item(&page.lines[*index]).is_some());
        let mut mine = Vec::new();
        for (index, line) in page.lines.iter().enumerate() {
            if Page::mark(line, "stop").is_some() && !in_block(index, "console") {
                let files = assemble(&typed)?;
                let is_last = code.is_none_or(|code| code < index);
                mine.push(Stop { place: page.place(index), page: chapter.page(), files, is_last });
            }
            let Some(inside) = include::item(line) else { continue };
            let Include { source, lines } = library.include(inside).with_context(|| page.place(index))?;
            if source.path.starts_with(&format!("chapters/{}/", chapter.package())) {
                let file = typed.entry(source.path.clone()).or_insert_with(|| Written::new(source));
                file.lines.extend(lines);
            }
        }
        stops.extend(mine);
    }
    Ok(stops)
}

/// The crate's files: the template's, and over them what has been typed.
fn assemble(typed: &BTreeMap<String, Written>) -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    let template = "chapters/lab/template/";
    for file in repo::files()? {
        if let Ok(name) = file.strip_prefix(template) {
            files.insert(name.to_path_buf(), lab::filled_in(&repo::read(&repo::root().join(&file))?));
        }
    }
    let (lib, main) = (Path::new("src/lib.rs"), Path::new("src/main.rs"));
    let mut modules = files.get(lib).with_context(|| format!("{template} has no src/lib.rs"))?.clone();
    let own = files.get(main).with_context(|| format!("{template} has no src/main.rs"))?.clone();
    let (_, tail) =
        own.split_once(MAIN_MARK).with_context(|| format!("{template}src/main.rs has no {MAIN_MARK:?}"))?;
    // In the order of the chapters, so that a later main.rs takes the place of an earlier one.
    for (path, file) in typed {
        let text = file.text();
        let name = path.splitn(3, '/').nth(2).with_context(|| format!("{path} is not below a chapter"))?;
        match Path::new(name) {
            name if name == lib => modules += &format!("\n{}", without_head(&text)),
            name if name == main => {
                files.insert(main.to_path_buf(), format!("{}\n{MAIN_MARK}{tail}", without_head(&text)));
            }
            name => {
                let old = files.insert(name.to_path_buf(), text);
                ensure!(old.is_none(), "{path}: an earlier chapter has a {} too", name.display());
            }
        }
    }
    files.insert(lib.to_path_buf(), modules);
    Ok(files)
}

/// The crate as it is at the end of a chapter, with its code taken from the sources: all lines, whatever the page
/// has of them.
pub fn complete(chapter: Chapter) -> Result<BTreeMap<PathBuf, String>> {
    let library = library();
    let mut typed = BTreeMap::new();
    for earlier in Chapter::typed().filter(|earlier| chapter.includes(*earlier)) {
        for source in sources::of_chapter(&library, earlier)? {
            let lines = source.taught();
            typed.insert(source.path.clone(), Written { source, lines });
        }
    }
    assemble(&typed)
}

/// Writes a crate's files. What else is in the directory's `src` goes.
pub fn write(files: &BTreeMap<PathBuf, String>, directory: &Path) -> Result<()> {
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
