//! A learner's crate as text, changed by someone who does what the captions say, and nothing that they do not say.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use items::source::{Kind, Lines, Part, Source};
use items::typed::Step;
use items::written::{Group, Place};

/// The files that chapters bring, by their paths in the crate: of `main.rs` the part above the template's mark, of
/// `lib.rs` what is below its head.
#[derive(Debug, Clone, Default)]
pub struct Draft(pub BTreeMap<String, String>);

impl Draft {
    /// Types a block.
    pub fn apply(&mut self, step: &Step, source: &Source) -> Result<()> {
        for name in &step.gone {
            let text = self.0.get_mut(&step.file).with_context(|| format!("no {}", step.file))?;
            let there = Source::parse(&step.file, text)?;
            let part = found(&there, name)?;
            // A member goes alone, the last one with its `impl`.
            let others = there.parts.iter().filter(|other| other.frame == part.frame).count();
            let range = if others > 1 && part.frame.is_some() { part.lines.clone() } else { whole(part) };
            *text = spliced(text, range, "");
        }
        for group in &step.groups {
            let text = self.0.entry(step.file.clone()).or_default();
            *text = put(&step.file, text, group, source)?;
        }
        Ok(())
    }
}

/// The file with these parts in their place.
fn put(file: &str, text: &str, group: &Group, source: &Source) -> Result<String> {
    // A learner's own lib.rs has docs already.
    let is_typed = |part: &&Part| file != "src/lib.rs" || part.kind != Kind::Docs;
    let parts: Vec<_> = group.parts.iter().map(|index| &source.parts[*index]).filter(is_typed).collect();
    let lines: Lines = parts.iter().flat_map(|part| part.framed()).collect();
    let new = source.text(&lines);
    // A member goes into an `impl` that is there, without one of its own around it.
    let members: Lines = parts.iter().flat_map(|part| part.lines.clone()).collect();
    let count = text.lines().count();
    let there = || Source::parse(file, text);
    let at = |at: usize, new: &str| Ok(spliced(text, at..at, new));
    let member = |block: &str, name: &str| {
        let named = format!("{}::{name}", block.strip_prefix("impl ").unwrap_or(block));
        Ok::<_, anyhow::Error>(found(&there()?, &named)?.lines.clone())
    };
    match &group.place {
        Place::OnceMore => Ok(text.to_string()),
        Place::NewFile => {
            ensure!(text.is_empty(), "{file} is not new");
            Ok(new)
        }
        Place::Whole => Ok(new),
        Place::Same(_) => replaced(file, text, &parts, source),
        Place::Top => at(0, &new),
        Place::End => at(count, &new),
        Place::Uses => {
            let there = there()?;
            let uses = there.parts.iter().filter(|part| part.kind != Kind::Item).map(|part| part.lines.end);
            at(uses.max().unwrap_or(0), &new)
        }
        Place::After(name) => at(whole(found(&there()?, name)?).end, &new),
        Place::Above(name) => at(whole(found(&there()?, name)?).start, &new),
        Place::In(block, name) => at(member(block, name)?.end, &source.text(&members)),
        Place::InAbove(block, name) => at(member(block, name)?.start, &source.text(&members)),
    }
}

/// Parts take the place of those of the same name; the lines above the first item, that of all of these.
fn replaced(file: &str, text: &str, parts: &[&Part], source: &Source) -> Result<String> {
    let mut text = text.to_string();
    let is_head = |part: &&&Part| part.kind != Kind::Item;
    let lines: Lines = parts.iter().flat_map(|part| part.lines.clone()).collect();
    let has_head = parts.iter().any(|part| part.kind == Kind::Docs) && source.has_head(&lines);
    if has_head {
        let lines: Lines = parts.iter().filter(is_head).flat_map(|part| part.lines.clone()).collect();
        let there = Source::parse(file, &text)?;
        let head = there.parts.iter().filter(|part| part.kind != Kind::Item).map(|part| part.lines.end).max();
        text = spliced(&text, 0..head.unwrap_or(0), &source.text(&lines));
    }
    for part in parts.iter().filter(|part| !has_head || part.kind == Kind::Item) {
        let there = Source::parse(file, &text)?;
        let lines: Lines = part.lines.clone().collect();
        text = spliced(&text, found(&there, part.name())?.lines.clone(), &source.text(&lines));
    }
    Ok(text)
}

/// The part that a caption names: where there are several, someone who reads on takes the last.
fn found<'a>(there: &'a Source, name: &str) -> Result<&'a Part> {
    let is_called = |part: &&Part| part.names.iter().any(|own| own == name);
    there.parts.iter().rfind(is_called).with_context(|| format!("{} has no `{name}` yet", there.path))
}

/// A part's lines, with the `impl` around it.
fn whole(part: &Part) -> Range<usize> {
    match &part.frame {
        Some([open, close]) => open.start..close.end,
        None => part.lines.clone(),
    }
}

/// The text with other lines in the place of some, and empty ones around them.
fn spliced(text: &str, range: Range<usize>, new: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let (before, after) = (lines[..range.start].join("\n"), lines[range.end..].join("\n"));
    let parts = [before.trim_end(), new.trim_end(), after.trim_matches('\n')];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

/// What counts when two files are compared: the lines in their order, but the `use` lines in any, and no empty ones.
pub fn compared(file: &str, text: &str) -> Result<String> {
    let source = Source::parse(file, text)?;
    let is_use =
        |index: usize| source.parts.iter().any(|part| part.kind == Kind::Use && part.lines.contains(&index));
    let (uses, rest): (Vec<_>, Vec<_>) = (0..source.lines.len()).partition(|index| is_use(*index));
    let text = |indexes: Vec<usize>| {
        let lines = indexes.into_iter().map(|index| source.lines[index].clone());
        lines.filter(|line| !line.trim().is_empty()).collect::<Vec<_>>()
    };
    let (mut uses, mut rest) = (text(uses), text(rest));
    uses.sort();
    if file == "src/lib.rs" {
        rest.sort(); // the order of modules is for those who read them
    }
    Ok(uses.into_iter().chain(rest).map(|line| line + "\n").collect())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use items::typed::Typed;

    use super::*;

    const FILE: &str = "//! Docs.\n\nuse a::b;\nuse crate::c;\n\nfn one() {}\n\n/// T.\nimpl T {\n    fn x() {}\n\n    fn y() {}\n}\n\nfn two() {}\n\nimpl U for T {}\n\nfn three() {}\n";

    /// Types blocks of some files: path, text, names.
    fn typed(blocks: &[(&str, &str, &[&str])]) -> Result<Draft> {
        let (mut typed, mut draft) = (Typed::default(), Draft::default());
        let lines = |source: &Source, names: &[&str]| -> Lines {
            names.iter().flat_map(|name| source.lines_of(name).unwrap()).collect()
        };
        for (path, text, names) in blocks {
            let source = Rc::new(Source::parse(path, text)?);
            let of_it = blocks.iter().filter(|(other, ..)| other == path);
            let on_page: Lines = of_it.flat_map(|(.., names)| lines(&source, names)).collect();
            let step = typed.step(&source, &lines(&source, names), &on_page);
            draft.apply(&step, &source)?;
        }
        Ok(draft)
    }

    #[test]
    fn whoever_does_what_the_captions_say_has_the_file() {
        let path = "chapters/ch01_run/src/a.rs";
        let orders: [&[&[&str]]; 5] = [
            &[&["head", "one", "impl T", "two", "impl U for T", "three"]],
            &[&["head"], &["three"], &["T::y"], &["one"], &["T::x"], &["impl U for T"], &["two"]],
            &[
                &["T::x"],
                &["head without use crate::c"],
                &["two", "T::y", "one"],
                &["use crate::c"],
                &["impl U for T", "three"],
            ],
            &[&["two"], &["T::y", "three"], &["T::x", "impl U for T"], &["head", "one"]],
            &[&["three", "one"], &["three"], &["T::x", "two"], &["head"], &["T::y", "impl U for T"]],
        ];
        for order in orders {
            let blocks: Vec<_> = order.iter().map(|names| (path, FILE, *names)).collect();
            let draft = typed(&blocks).unwrap();
            let (now, right) = (compared("a.rs", &draft.0["src/a.rs"]), compared("a.rs", FILE));
            assert_eq!(now.unwrap(), right.unwrap(), "{order:?}");
        }
    }

    #[test]
    fn a_program_changes() {
        let one = "//! One.\n\nuse a::b;\n\nfn main() {\n    b();\n}\n\nfn f() {}\n\nfn g() {}\n";
        let two = "//! Two.\n\nuse a::b;\nuse a::c;\n\nfn main() {\n    c();\n}\n\nfn f() {}\n\nfn h() {}\n";
        let (first, second) = ("chapters/ch01_run/examples/one.rs", "chapters/ch01_run/examples/two.rs");
        // What both have is not typed again, what only the first has goes.
        let draft = typed(&[
            (first, one, &["head", "main", "f", "g"]),
            (second, two, &["head", "main"]),
            (second, two, &["h"]),
        ]);
        assert_eq!(draft.unwrap().0["src/main.rs"], two);
        // Of the lines above the first item, only some may be shown.
        let draft = typed(&[
            (first, one, &["head", "main", "f", "g"]),
            (second, two, &["head without use a::b", "main"]),
            (second, two, &["h"]),
        ]);
        assert_eq!(
            compared("a.rs", &draft.unwrap().0["src/main.rs"]).unwrap(),
            compared("a.rs", two).unwrap()
        );
        let three = "//! Three.\n\nuse a::{b, c};\n\nfn main() {\n    c();\n}\n\nfn f() {}\n\nfn h() {}\n";
        let third = "chapters/ch01_run/src/main.rs";
        let draft = typed(&[(second, two, &["head", "main", "f", "h"]), (third, three, &["head"])]);
        assert_eq!(draft.unwrap().0["src/main.rs"], three);
        let draft = typed(&[(second, two, &["head", "main", "f", "h"]), (third, three, &["use a", "docs"])]);
        assert_eq!(draft.unwrap().0["src/main.rs"], three);
        let draft = typed(&[
            (second, two, &["head", "main", "f", "h"]),
            (third, three, &["use a"]),
            (third, three, &["docs"]),
        ]);
        assert_eq!(
            compared("a.rs", &draft.unwrap().0["src/main.rs"]).unwrap(),
            compared("a.rs", three).unwrap()
        );
        // Or all of it is.
        let draft =
            typed(&[(first, one, &["head", "main", "f", "g"]), (second, two, &["head", "main", "f", "h"])]);
        assert_eq!(draft.unwrap().0["src/main.rs"], two);
    }

    #[test]
    fn modules_stand_below_what_is_there_without_the_docs() {
        let lib = "//! Docs.\n\npub mod a;\npub mod b;\n";
        let path = "chapters/ch01_run/src/lib.rs";
        let draft = typed(&[(path, lib, &["mod b"]), (path, lib, &["mod a"])]).unwrap();
        assert_eq!(draft.0["src/lib.rs"], "pub mod a;\n\npub mod b;\n");
        let draft = typed(&[(path, lib, &["head", "mod a", "mod b"])]).unwrap();
        assert_eq!(draft.0["src/lib.rs"], "pub mod a;\npub mod b;\n");
    }

    #[test]
    fn what_is_in_another_place_is_seen() {
        let other = FILE.replacen("fn one() {}\n\n", "", 1) + "\nfn one() {}\n";
        assert_ne!(compared("a.rs", &other).unwrap(), compared("a.rs", FILE).unwrap());
        let uses = FILE.replacen("use a::b;\nuse crate::c;\n", "use crate::c;\n\nuse a::b;\n", 1);
        assert_eq!(compared("a.rs", &uses).unwrap(), compared("a.rs", FILE).unwrap());
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error() {
        let source = Source::parse("a.rs", FILE).unwrap();
        let parts = vec![source.parts.iter().position(|part| part.name() == "two").unwrap()];
        let step = |place| Step {
            file: "src/a.rs".into(),
            groups: vec![Group { parts: parts.clone(), place }],
            gone: Vec::new(),
        };
        let mut draft = Draft(BTreeMap::from([("src/a.rs".to_string(), "fn three() {}\n".to_string())]));
        let error = draft.apply(&step(Place::After("one".into())), &source).unwrap_err();
        assert_eq!(error.to_string(), "src/a.rs has no `one` yet");
        assert!(draft.apply(&step(Place::NewFile), &source).is_err());
        draft.apply(&step(Place::Above("three".into())), &source).unwrap();
        assert_eq!(draft.0["src/a.rs"], "fn two() {}\n\nfn three() {}\n");
    }
}
