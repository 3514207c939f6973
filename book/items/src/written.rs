//! What of a file has been included so far, and where something new goes.

use std::rc::Rc;

use crate::source::{Kind, Lines, Part, Source};

/// A file as far as a learner has it.
#[derive(Debug, Clone)]
pub struct Written {
    /// All of it.
    pub source: Rc<Source>,
    /// The lines so far.
    pub lines: Lines,
}

impl Written {
    /// Nothing yet.
    pub fn new(source: Rc<Source>) -> Written {
        Written { source, lines: Lines::new() }
    }

    /// The file so far.
    pub fn text(&self) -> String {
        self.source.text(&self.lines)
    }

    /// Where new lines go, in words, if there are any and the file has been begun: ``after `exec` ``.
    pub fn places(&self, new: &Lines) -> Vec<String> {
        let parts = &self.source.parts;
        let is_old = |part: &&Part| self.source.has(&self.lines, part);
        let is_new = |part: &&Part| self.source.has(new, part);
        // From an `impl` that was begun earlier to what stands below it.
        let leaves = |before: &Part, part: &Part| {
            let is_begun = |other: &Part| other.frame == before.frame && is_old(&other);
            before.frame != part.frame && before.frame.is_some() && parts.iter().any(is_begun)
        };
        let mut places = Vec::new();
        let mut before: Option<&Part> = None;
        for (index, part) in parts.iter().enumerate() {
            if is_old(&part) {
                before = Some(part);
            } else if is_new(&part) {
                // Only the first of those that go to the same place.
                if before.is_none_or(|before| is_old(&before) || leaves(before, part)) {
                    let after = parts[index..].iter().find(is_old);
                    places.push(place(before, part, after));
                }
                before = Some(part);
            }
        }
        places
    }
}

fn place(before: Option<&Part>, new: &Part, after: Option<&Part>) -> String {
    let has_frame = |other: &&Part| new.frame.is_some() && other.frame == new.frame;
    let block = new.names.last().map_or("", String::as_str);
    let short = |part: &Part| part.name().rsplit("::").next().unwrap_or_default().to_string();
    if let Some(before) = before.filter(has_frame) {
        return format!("in `{block}`, after `{}`", short(before));
    }
    if let Some(after) = after.filter(has_frame) {
        return format!("in `{block}`, before `{}`", short(after));
    }
    match (before, after) {
        (None, _) => "at the top".to_string(),
        (Some(before), _) if new.kind == Kind::Use && before.kind != Kind::Item => {
            "below the `use` lines".to_string()
        }
        (Some(_), None) => "at the end".to_string(),
        (Some(before), _) if before.kind != Kind::Item => "below the `use` lines".to_string(),
        (Some(before), _) => match &before.frame {
            Some(_) => format!("after `{}`", before.names.last().map_or("", String::as_str)),
            None => format!("after `{}`", before.name()),
        },
    }
}
