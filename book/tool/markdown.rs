//! What the rules look at in a Markdown file: prose, headings, links.

use crate::page::Page;

/// A heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// How many `#`.
    pub level: usize,
    /// Its text, without marks.
    pub text: String,
    /// The name by which links reach it.
    pub id: String,
    /// Index of the line.
    pub line: usize,
}

/// The lines outside of fenced blocks, with their index, and with code spans and comments blanked out.
pub fn prose(page: &Page) -> Vec<(usize, String)> {
    let blocks = page.blocks();
    let mut lines = Vec::new();
    let mut comment = false;
    for (index, line) in page.lines.iter().enumerate() {
        // The fences themselves are no prose either.
        if blocks.iter().any(|block| (block.start - 1..=block.end).contains(&index)) {
            continue;
        }
        let mut text = String::new();
        let mut rest = line.as_str();
        loop {
            if comment {
                let Some((_, after)) = rest.split_once("-->") else { break };
                (rest, comment) = (after, false);
            }
            match rest.split_once("<!--") {
                Some((before, after)) => {
                    text += before;
                    (rest, comment) = (after, true);
                }
                None => {
                    text += rest;
                    break;
                }
            }
        }
        lines.push((index, without_code(&text)));
    }
    lines
}

/// Code spans become empty ones.
fn without_code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let fence = &rest[start..start + ticks];
        let inside = &rest[start + ticks..];
        let Some(end) = inside.find(fence) else { break };
        out += &rest[..start];
        out += "``";
        rest = &inside[end + ticks..];
    }
    out + rest
}

/// What stands in code spans, and the lines of blocks: what a reader may see on a screen.
pub fn code(page: &Page) -> Vec<String> {
    let blocks = page.blocks();
    let mut found = Vec::new();
    for (index, line) in page.lines.iter().enumerate() {
        if blocks.iter().any(|block| (block.start..block.end).contains(&index)) {
            found.push(line.clone());
        } else if !line.trim_start().starts_with("```") {
            let mut parts = line.split('`');
            parts.next();
            while let (Some(inside), Some(_)) = (parts.next(), parts.next()) {
                found.push(inside.to_string());
            }
        }
    }
    found
}

/// The headings, with the ids that mdBook gives them (GitHub gives the same).
pub fn headings(page: &Page) -> Vec<Heading> {
    let mut ids = lab::Ids::default();
    let blocks = page.blocks();
    let mut headings = Vec::new();
    for (index, line) in page.lines.iter().enumerate() {
        if blocks.iter().any(|block| (block.start..block.end).contains(&index)) {
            continue;
        }
        let level = line.len() - line.trim_start_matches('#').len();
        let Some(text) = line[level..].strip_prefix(' ').filter(|_| (1..=6).contains(&level)) else {
            continue;
        };
        let text = plain(text.trim());
        let id = ids.next(&text);
        headings.push(Heading { level, text, id, line: index });
    }
    headings
}

/// A heading's text without the marks of code, emphasis and links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (_, end) = after.split_once(')').unwrap_or((after, ""));
        out += before;
        rest = end;
    }
    (out + rest).replace(['`', '*', '['], "")
}

/// The targets of links and pictures, with the index of their lines.
pub fn links(page: &Page) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (index, line) in prose(page) {
        for after in line.split("](").skip(1) {
            if let Some((target, _)) = after.split_once(')') {
                let target = target.split_whitespace().next().unwrap_or_default();
                links.push((index, target.trim_matches(['<', '>']).to_string()));
            }
        }
        for mark in ["href=\"", "src=\""] {
            links.extend(
                line.split(mark)
                    .skip(1)
                    .filter_map(|rest| Some((index, rest.split_once('"')?.0.to_string()))),
            );
        }
        // `[name]: target`
        if let Some((name, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
            && !name.contains(']')
        {
            links.push((index, target.trim().to_string()));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn page(text: &str) -> Page {
        Page { path: PathBuf::new(), name: String::new(), lines: text.lines().map(String::from).collect() }
    }

    #[test]
    fn ids_of_headings() {
        let page = page("# A `cgroup` of *its* own: v1, v2\n## Run it\n## Run it\n```\n# no\n```\n");
        let ids: Vec<_> = headings(&page).into_iter().map(|heading| heading.id).collect();
        assert_eq!(ids, ["a-cgroup-of-its-own-v1-v2", "run-it", "run-it-1"]);
    }

    #[test]
    fn prose_is_without_code_and_comments() {
        let page = page("a `b!` c <!-- d\ne --> f\n```\ng\n```\nh ``i ` j`` k\n");
        let lines: Vec<_> = prose(&page).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["a `` c ", " f", "h `` k"]);
        assert_eq!(code(&page)[..2], ["b!", "g"]);
    }

    #[test]
    fn targets_of_links() {
        let page = page("[a](b.md#c) and ![d](e.svg), `[f](g)`\n[h]: i.md\n");
        let targets: Vec<_> = links(&page).into_iter().map(|(_, target)| target).collect();
        assert_eq!(targets, ["b.md#c", "e.svg", "i.md"]);
    }
}
