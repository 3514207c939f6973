//! Where the book explains what a check asks for: sections with a line `<!-- checks: ID ... -->`, or for an exercise's
//! checks `<!-- exercise: NAME -->`.

use std::collections::HashMap;
use std::fs;

use crate::chapter::{Chapter, repository};
use crate::checks::check::Check;

/// A section of the book.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// From the top of the repository.
    pub(crate) page: String,
    /// Its heading, or nothing for the whole page.
    pub(crate) heading: String,
    /// Sections are met in this order.
    position: usize,
}

/// The sections of all checks that the book has.
#[derive(Debug, Default)]
pub(crate) struct Book(HashMap<String, Section>);

impl Book {
    /// Reads the chapters' pages. One that is not there yet has no sections.
    pub(crate) fn read() -> Book {
        let mut sections = HashMap::new();
        for name in Chapter::ALL.into_iter().flat_map(Chapter::pages) {
            let page = format!("book/src/{name}.md");
            let text = fs::read_to_string(repository().join(&page)).unwrap_or_default();
            add(&page, &text, &mut sections);
        }
        Book(sections)
    }

    pub(crate) fn section(&self, check: &Check) -> Section {
        let whole = || Section {
            page: format!("book/src/{}.md", check.since.page()),
            heading: String::new(),
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
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.heading.as_str() {
            "" => f.write_str(&self.page),
            heading => write!(f, "{}, \"{heading}\"", self.page),
        }
    }
}

fn add(page: &str, text: &str, sections: &mut HashMap<String, Section>) {
    let (mut heading, mut in_code) = (String::new(), false);
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        if !in_code && line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().replace('`', "");
        }
        for (mark, prefix) in [("<!-- checks:", ""), ("<!-- exercise:", "exercise ")] {
            let marked = line.trim().strip_prefix(mark).and_then(|rest| rest.strip_suffix("-->"));
            for id in marked.unwrap_or_default().split_whitespace() {
                let position = sections.len();
                let section = Section { page: page.to_string(), heading: heading.clone(), position };
                sections.entry(format!("{prefix}{id}")).or_insert(section);
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
            "p.md",
            "# Page\n## `pivot_root`\n```sh\n# no heading\n```\n<!-- checks: a b -->\n",
            &mut sections,
        );
        assert_eq!(sections["b"].to_string(), "p.md, \"pivot_root\"");
        assert_eq!((sections["a"].position, sections.len()), (0, 2));
    }
}
