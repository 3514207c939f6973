//! The chapters' sources, and what pages include of them.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use items::include::Library;
use items::source::Source;
use lab::Chapter;

use crate::repo;

/// All their files.
pub fn library() -> Library {
    Library::new(&repo::root())
}

/// What a learner types of a chapter: its library, `main.rs`, its examples.
pub fn of_chapter(library: &Library, chapter: Chapter) -> Result<Vec<Rc<Source>>> {
    let top = Path::new("chapters").join(chapter.package());
    let is_source = |file: &Path| {
        (file.starts_with(top.join("src")) || file.starts_with(top.join("examples")))
            && file.extension().is_some_and(|end| end == "rs")
    };
    let files = repo::files()?.into_iter().filter(|file| is_source(file));
    files.map(|file| library.source(&file.display().to_string())).collect()
}
