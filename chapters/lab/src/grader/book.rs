//! Where the book explains what a check asks for: sections with a line `<!-- checks: ID ... -->`, or for an exercise's
//! checks `<!-- exercise: NAME -->`.

use std::collections::HashMap;
use std::fs;

use crate::chapter::{Chapter, repository};
use crate::checks::check::Check;

/// Where the book is to be read. Its text in the repository has names in the place of the code.
pub const ADDRESS: &str = "https://containers-by-hand.github.io/containers-by-hand/";

/// A section of the book.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// The name of its page.
    pub(crate) page: String,
    /// Its heading, or nothing for the whole page.
    pub(crate) heading: String,
    /// By what links reach it.
    id: String,
    /// Sections are met in this order.
    position: usize,
}

/// The sections of all checks that the book has.
#[derive(Debug, Default)]
pub(crate) struct Book(HashMap<String, Section>);

/// The address of a page.
pub(crate) fn address(page: &str) -> String {
    format!("{ADDRESS}{page}.html")
}

impl Book {
    /// Reads the chapters' pages. One that is not there yet has no sections.
    pub(crate) fn read() -> Book {
        let mut sections = HashMap::new();
        for name in Chapter::ALL.into_iter().flat_map(Chapter::pages) {
            let path = repository().join(format!("book/src/{name}.md"));
            add(name, &fs::read_to_string(path).unwrap_or_default(), &mut sections);
        }
        Book(sections)
    }

    pub(crate) fn section(&self, check: &Check) -> Section {
        let whole = || Section {
            page: check.since.page().to_string(),
            heading: String::new(),
            id: String::new(),
            position: usize::MAX,
        };
        let exercise = check.exercise.map(|name| format!("exercise {name}"));
        self.0.get(exercise.as_deref().unwrap_or(check.id)).cloned().unwrap_or_else(whole)
    }

    /// The check that comes first in the book, and first in the list where the book does not know.
    pub(crate) fn first<'a>(&self, checks: impl Iterator<Item = &'a Check>) -> Option<&'a Check> {
        checks.min_by_key(|check| (check.since, self.section(check).position))
    }
}

impl std::fmt::Display for Section {
    /// Its address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&address(&self.page))?;
        if self.id.is_empty() { Ok(()) } else { write!(f, "#{}", self.id) }
    }
}

/// The ids that mdBook gives a page's headings: [`Ids::next`] for each in its order.
#[derive(Debug, Default)]
pub struct Ids(HashMap<String, usize>);

impl Ids {
    /// The id of the next heading, given without the marks of code, emphasis and links.
    pub fn next(&mut self, heading: &str) -> String {
        let kept = heading.chars().filter_map(|c| match c {
            c if c.is_whitespace() => Some('-'),
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
            _ => None,
        });
        let id: String = kept.collect::<String>().to_lowercase();
        let count = self.0.entry(id.clone()).or_insert(0);
        let unique = if *count == 0 { id } else { format!("{id}-{count}") };
        *count += 1;
        unique
    }
}

fn add(page: &str, text: &str, sections: &mut HashMap<String, Section>) {
    let (mut heading, mut id, mut in_code) = (String::new(), String::new(), false);
    let mut ids = Ids::default();
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        if !in_code && line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().replace(['`', '*'], "");
            id = ids.next(&heading);
        }
        for (mark, prefix) in [("<!-- checks:", ""), ("<!-- exercise:", "exercise ")] {
            let marked = line.trim().strip_prefix(mark).and_then(|rest| rest.strip_suffix("-->"));
            for name in marked.unwrap_or_default().split_whitespace() {
                let (position, page) = (sections.len(), page.to_string());
                let section = Section { page, heading: heading.clone(), id: id.clone(), position };
                sections.entry(format!("{prefix}{name}")).or_insert(section);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_belongs_to_the_heading_above() {
        let mut sections = HashMap::new();
        add(
            "p",
            "# Page\n## `pivot_root` at work\n```sh\n# no heading\n```\n<!-- checks: a b -->\n",
            &mut sections,
        );
        assert_eq!(sections["b"].to_string(), format!("{ADDRESS}p.html#pivot_root-at-work"));
        assert_eq!((sections["a"].position, sections.len()), (0, 2));
    }
}
