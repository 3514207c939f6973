//! Links to the glossary carry the first sentence of their entry, which appears where one points at them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// The page.
pub const PAGE: &str = "glossary";

/// The entries: each heading's id, and the first sentence below it.
#[derive(Debug, Default)]
pub struct Glossary(BTreeMap<String, String>);

impl Glossary {
    /// Reads the page.
    pub fn new(page: &str) -> Glossary {
        let mut entries = BTreeMap::new();
        let mut term = None;
        for line in page.lines() {
            if let Some(heading) = line.strip_prefix('#') {
                term = Some(id(heading.trim_start_matches('#').trim()));
            } else if let (Some(id), false) = (&term, line.is_empty()) {
                entries.insert(id.clone(), plain(first_sentence(line)));
                term = None;
            }
        }
        Glossary(entries)
    }

    /// A page with its links' first sentences.
    pub fn explain(&self, name: &str, page: &str) -> Result<String> {
        let mut out = String::new();
        let mut fence: Option<usize> = None;
        for (index, line) in page.lines().enumerate() {
            let marks = line.trim_start();
            let ticks = marks.len() - marks.trim_start_matches('`').len();
            match fence {
                None if ticks >= 3 => fence = Some(ticks),
                Some(open) if ticks >= open && marks[ticks..].trim().is_empty() => fence = None,
                _ => {}
            }
            if fence.is_some() {
                out.extend([line, "\n"]);
                continue;
            }
            let mut rest = line;
            while let Some(at) = rest.find("](glossary.md#") {
                let (before, after) = rest.split_at(at);
                let Some(start) = opening(before) else {
                    bail!("{name}.md:{}: a link without its [", index + 1)
                };
                let Some((target, after)) = after[2..].split_once(')') else { break };
                let term = &target["glossary.md#".len()..];
                let Some(sentence) = self.0.get(term) else {
                    bail!("book/src/{name}.md:{}: the glossary has no {term:?}", index + 1);
                };
                out += &before[..start];
                let sentence = attribute(sentence);
                out += &format!(
                    "<a class=\"term\" href=\"{target}\" data-is=\"{sentence}\" aria-description=\"{sentence}\">"
                );
                out += &before[start + 1..];
                out += "</a>";
                rest = after;
            }
            out.extend([rest, "\n"]);
        }
        Ok(out)
    }
}

/// Where the `[` is that a `]` at the end of this text closes.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, character) in text.char_indices().rev() {
        match character {
            ']' => depth += 1,
            '[' if depth == 0 => return Some(at),
            '[' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The id that mdBook gives a heading.
fn id(heading: &str) -> String {
    let kept = plain(heading).to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        c if c.is_whitespace() => Some('-'),
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// Up to a full stop before a capital letter.
fn first_sentence(line: &str) -> &str {
    let ends = line.match_indices(". ").find(|(at, _)| line[at + 2..].starts_with(char::is_uppercase));
    ends.map_or(line, |(at, _)| &line[..=at])
}

/// Text without the marks of code, emphasis and links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        out += before;
        rest = after.split_once(')').map_or("", |(_, end)| end);
    }
    (out + rest).replace(['`', '*', '['], "")
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_get_the_first_sentence() {
        let glossary = Glossary::new("# Glossary\n\nWords.\n\n### bind mount\n\nIt shows `a` \"b\". More.\n");
        let page = "A [x] [bind `m`](glossary.md#bind-mount), b.\n```\n[a](glossary.md#a)\n```\n";
        let html = "A [x] <a class=\"term\" href=\"glossary.md#bind-mount\" data-is=\"It shows a &quot;b&quot;.\" \
            aria-description=\"It shows a &quot;b&quot;.\">bind `m`</a>, b.\n```\n[a](glossary.md#a)\n```\n";
        assert_eq!(glossary.explain("p", page).unwrap(), html);
    }

    #[test]
    fn an_entry_that_is_missing_is_an_error() {
        let error = Glossary::default().explain("p", "\n[a](glossary.md#a)\n").unwrap_err();
        assert_eq!(error.to_string(), "book/src/p.md:2: the glossary has no \"a\"");
    }
}
