//! What of a file has been included so far, and where something new goes.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use crate::source::{Kind, Lines, Part, Source};

/// A file as far as a learner has it.
#[derive(Debug, Clone)]
pub struct Written {
    /// All of it.
    pub source: Rc<Source>,
    /// The lines so far.
    pub lines: Lines,
    /// Parts that stand in the learner's file as an earlier program had them: indexes of [`Source::parts`].
    old: BTreeSet<usize>,
}

/// Some parts of a block that go to one place.
#[derive(Debug, Clone)]
pub struct Group {
    /// Indexes of [`Source::parts`].
    pub parts: Vec<usize>,
    /// Where.
    pub place: Place,
}

/// Where something goes in a file. As words, it completes "This goes …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file is not there yet.
    NewFile,
    /// Nothing of the file stays.
    Whole,
    /// Parts of these names are there, and these take their place.
    Same(usize),
    /// All of it is there.
    OnceMore,
    /// Above all else.
    Top,
    /// Below all else.
    End,
    /// Below the last `use` line.
    Uses,
    /// Below a part.
    After(String),
    /// Above a part.
    Above(String),
    /// Below a member of an `impl`.
    In(String, String),
    /// Above a member of an `impl`.
    InAbove(String, String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::NewFile => f.write_str("a new file"),
            Place::Whole => f.write_str("in place of what is there"),
            Place::Same(1) => f.write_str("in place of the one there"),
            Place::Same(_) => f.write_str("in place of those there"),
            Place::OnceMore => f.write_str("once more"),
            Place::Top => f.write_str("at the top"),
            Place::End => f.write_str("at the end"),
            Place::Uses => f.write_str("below the `use` lines"),
            Place::After(name) => write!(f, "after `{name}`"),
            Place::Above(name) => write!(f, "above `{name}`"),
            Place::In(block, name) => write!(f, "in `{block}`, after `{name}`"),
            Place::InAbove(block, name) => write!(f, "in `{block}`, above `{name}`"),
        }
    }
}

impl Written {
    /// Nothing yet.
    pub fn new(source: Rc<Source>) -> Written {
        Written { source, lines: Lines::new(), old: BTreeSet::new() }
    }

    /// All of it.
    pub fn whole(source: Rc<Source>) -> Written {
        Written { lines: source.taught(), source, old: BTreeSet::new() }
    }

    /// A program that changes another one: what both have is there already. Also says which parts go.
    pub fn change_of(source: Rc<Source>, earlier: &Written) -> (Written, Vec<String>) {
        let mut written = Written::new(source.clone());
        let text = |source: &Source, part: &Part| source.lines[part.lines.clone()].join("\n");
        let was = |part: &Part| {
            earlier.source.parts.iter().find(|old| {
                old.names == part.names && old.kind == part.kind && earlier.source.has(&earlier.lines, old)
            })
        };
        for (index, part) in source.parts.iter().enumerate() {
            match was(part) {
                Some(old) if text(&earlier.source, old) == text(&source, part) => {
                    written.lines.extend(part.framed());
                }
                Some(_) => {
                    written.old.insert(index);
                }
                None => {}
            }
        }
        let stays = |old: &&Part| !source.parts.iter().any(|part| part.names == old.names);
        let named = earlier.source.parts.iter().filter(|part| part.kind != Kind::Docs);
        let gone = named.filter(stays).map(|part| part.name().to_string());
        (written, gone.collect())
    }

    /// The file so far.
    pub fn text(&self) -> String {
        self.source.text(&self.lines)
    }

    /// Adds lines. What they have a new form of is old no more.
    pub fn add(&mut self, lines: &Lines) {
        self.lines.extend(lines);
        let Written { source, lines, old } = self;
        old.retain(|index| !source.has(lines, &source.parts[*index]));
    }

    /// Where new lines go, if there are any and the file has been begun.
    pub fn groups(&self, new: &Lines) -> Vec<Group> {
        let parts = &self.source.parts;
        let is_there =
            |index: usize| self.source.has(&self.lines, &parts[index]) || self.old.contains(&index);
        // A block with new first lines and all `use` lines takes the place of those there.
        let is_head = |part: &Part| part.kind != Kind::Item;
        let docs = |index: &usize| parts[*index].kind == Kind::Docs && self.source.has(new, &parts[*index]);
        let has_new_head = self.old.iter().any(docs) && self.source.has_head(new);
        let is_new = |index: usize| {
            let part = &parts[index];
            let is_there = self.source.has(&self.lines, part) && !(has_new_head && is_head(part));
            self.source.has(new, part) && !is_there
        };
        // Whether an `impl` stands in the file already, so that there is an inside to go to.
        let is_begun = |part: &Part| {
            part.frame.is_some()
                && (0..parts.len()).any(|other| parts[other].frame == part.frame && is_there(other))
        };
        let mut groups: Vec<Group> = Vec::new();
        let mut before: Option<usize> = None;
        for index in 0..parts.len() {
            if is_new(index) {
                let part = &parts[index];
                let after = (index + 1..parts.len()).find(|other| is_there(*other));
                let place = if self.old.contains(&index) || (has_new_head && is_head(part)) {
                    Place::Same(1)
                } else {
                    place(before.map(|at| &parts[at]), part, after.map(|at| &parts[at]))
                };
                // With the last one, if that is new too and neither of them goes into an `impl` without the other.
                let last = groups.last_mut();
                let together = last.filter(|last| {
                    let at = *last.parts.last().unwrap_or(&index);
                    let other = &parts[at];
                    let is_same = |place: &Place| matches!(place, Place::Same(_));
                    if is_same(&place) || is_same(&last.place) {
                        return is_same(&place) && is_same(&last.place);
                    }
                    before == Some(at)
                        && (other.frame == part.frame || !(is_begun(other) || is_begun(part)))
                        && (part.kind == Kind::Item) == (other.kind == Kind::Item)
                });
                match together {
                    Some(group) => {
                        group.parts.push(index);
                        if let Place::Same(many) = &mut group.place {
                            *many += 1;
                        }
                    }
                    None => groups.push(Group { parts: vec![index], place }),
                }
                before = Some(index);
            } else if is_there(index) {
                before = Some(index);
            }
        }
        groups
    }
}

/// `before` and `after` are what stands in the file around it.
fn place(before: Option<&Part>, new: &Part, after: Option<&Part>) -> Place {
    let has_frame = |other: &&Part| new.frame.is_some() && other.frame == new.frame;
    let block = || new.names.last().cloned().unwrap_or_default();
    let short = |part: &Part| part.name().rsplit("::").next().unwrap_or_default().to_string();
    if let Some(before) = before.filter(has_frame) {
        return Place::In(block(), short(before));
    }
    if let Some(after) = after.filter(has_frame) {
        return Place::InAbove(block(), short(after));
    }
    match (before, after) {
        (None, Some(after)) if after.kind == Kind::Item && new.name().starts_with("mod ") => {
            Place::Above(after.name().to_string())
        }
        (None, _) => Place::Top,
        (Some(before), _) if new.kind == Kind::Use && before.kind != Kind::Item => Place::Uses,
        (Some(_), None) => Place::End,
        (Some(before), _) if before.kind != Kind::Item => Place::Uses,
        (Some(before), _) => Place::After(match &before.frame {
            Some(_) => before.names.last().cloned().unwrap_or_default(),
            None => before.name().to_string(),
        }),
    }
}
