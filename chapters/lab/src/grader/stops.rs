//! The stops of the book, where a learner can run what is typed by then, and the checks that turn green there.

use anyhow::{Context, Result};

use crate::chapter::Chapter;
use crate::grader::book::address;

/// Made from the book's pages: `cargo run -p book -- make`.
const STOPS: &str = include_str!("../../stops.txt");

/// A stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) chapter: Chapter,
    pub(crate) number: usize,
    /// The page's name.
    page: String,
    /// The heading above it.
    pub(crate) heading: String,
    /// The checks that turn green.
    pub(crate) ids: Vec<String>,
}

impl Stop {
    /// Its place in the book.
    pub(crate) fn address(&self) -> String {
        format!("{}#stop-{}-{}", address(&self.page), self.chapter.name(), self.number)
    }
}

/// The stop of this number.
pub(crate) fn stop(chapter: Chapter, number: usize) -> Result<Stop> {
    let stops = of(chapter);
    let known = match (stops.first(), stops.last()) {
        (Some(first), Some(last)) => format!("they are {} to {}", first.number, last.number),
        _ => "it has none".to_string(),
    };
    let found = stops.into_iter().find(|stop| stop.number == number);
    found.with_context(|| format!("chapter {} has no stop {number}: {known}", chapter.name()))
}

/// The stop after it: in the same chapter, or the first of the next one.
pub(crate) fn next(stop: &Stop) -> Option<Stop> {
    let mut all = Chapter::typed().flat_map(of);
    all.by_ref().find(|one| one == stop)?;
    all.next()
}

/// A chapter's stops, in their order.
pub(crate) fn of(chapter: Chapter) -> Vec<Stop> {
    parsed(STOPS).into_iter().filter(|stop| stop.chapter == chapter).collect()
}

fn parsed(text: &str) -> Vec<Stop> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(one).collect()
}

/// `2 | 1 | ch02-cgroups | The heading | memory-limit pids-limit`
fn one(line: &str) -> Option<Stop> {
    let parts: Vec<_> = line.split('|').map(str::trim).collect();
    let [chapter, number, page, heading, ids] = parts.as_slice() else { return None };
    Some(Stop {
        chapter: chapter.parse().ok()?,
        number: number.parse().ok()?,
        page: page.to_string(),
        heading: heading.to_string(),
        ids: ids.split_whitespace().map(String::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::by_id;

    #[test]
    fn every_line_is_a_stop() {
        let lines = STOPS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.count(), parsed(STOPS).len());
        for stop in parsed(STOPS) {
            assert!(stop.chapter.pages().contains(&stop.page.as_str()), "{stop:?}");
            assert!(stop.ids.iter().all(|id| by_id(id).is_some()), "{stop:?}");
        }
        for chapter in Chapter::typed() {
            let numbers: Vec<_> = of(chapter).iter().map(|stop| stop.number).collect();
            let first = usize::from(chapter != Chapter::Run);
            assert!(numbers.iter().copied().eq(first..first + numbers.len()), "{chapter:?}: {numbers:?}");
        }
    }

    #[test]
    fn a_line_has_five_columns() {
        let stop = one("2 | 1 | ch02-cgroups | Limits: `-m` | memory-limit pids-limit").unwrap();
        assert_eq!((stop.chapter, stop.number, stop.ids.len()), (Chapter::Cgroups, 1, 2));
        assert!(stop.address().ends_with("/ch02-cgroups.html#stop-2-1"), "{}", stop.address());
        assert_eq!(one("1 | 0 | ch01-run | A | ").unwrap().ids.len(), 0);
        assert_eq!(one("1 | 0 | ch01-run"), None);
    }
}
