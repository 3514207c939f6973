//! What the chapters can tell a user: the sentences in their sources.

use anyhow::{Context, Result};
use lab::Chapter;
use regex_lite::Regex;

use crate::sources::Source;

/// A sentence that a chapter can print.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it stands.
    pub place: String,
    /// As in the source, with its `{...}`.
    pub text: String,
    /// Matches it as printed.
    pub printed: Regex,
}

/// All sentences: every string with a space in it, but for the debug log's calls and what is only taken apart.
pub fn all() -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    for chapter in Chapter::ALL {
        for source in Source::of_chapter(chapter)? {
            let taught = source.taught();
            let end = taught.last().map_or(0, |last| last + 1);
            let text = source.lines[..end].join("\n");
            for (at, before, literal) in strings(&text) {
                if !is_message(&before, &literal) || messages.iter().any(|other| other.text == literal) {
                    continue;
                }
                let line = text[..at].lines().count();
                let place = format!("{}:{line}", source.path.display());
                let printed = pattern(&literal).with_context(|| place.clone())?;
                messages.push(Message { place, text: literal, printed });
            }
        }
    }
    Ok(messages)
}

/// The string literals of a source: where, the code right before, the text.
fn strings(source: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut characters = source.char_indices().peekable();
    let mut code = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '/' if characters.peek().is_some_and(|(_, next)| *next == '/') => {
                while characters.peek().is_some_and(|(_, next)| *next != '\n') {
                    characters.next();
                }
            }
            '\'' => {
                // A character, perhaps a quote, or a lifetime.
                let rest = &source[at + 1..];
                let length = if rest.starts_with('\\') {
                    rest[2..].find('\'').map(|end| end + 3)
                } else {
                    rest.chars()
                        .next()
                        .filter(|c| rest[c.len_utf8()..].starts_with('\''))
                        .map(|c| c.len_utf8() + 1)
                };
                for _ in 0..length.map_or(0, |length| rest[..length].chars().count()) {
                    characters.next();
                }
            }
            '"' => {
                let mut text = String::new();
                while let Some((_, inside)) = characters.next() {
                    match inside {
                        '"' => break,
                        '\\' => match characters.next() {
                            Some((_, '\n')) => {
                                while characters.peek().is_some_and(|(_, next)| next.is_whitespace()) {
                                    characters.next();
                                }
                            }
                            Some((_, 'n')) => text.push('\n'),
                            Some((_, other)) => text.push(other),
                            None => {}
                        },
                        other => text.push(other),
                    }
                }
                found.push((at, code.clone(), text));
                code += "\"\"";
            }
            other => code.push(other),
        }
    }
    found
}

fn is_message(before: &str, literal: &str) -> bool {
    let before = before.trim_end();
    let not_printed = ["debug!(", "strip_prefix(", "trim_start_matches(", "join("];
    let words = fixed(literal).concat();
    literal.contains(' ')
        && words.split(|c: char| !c.is_alphabetic()).any(|word| word.len() > 2)
        && !not_printed.iter().any(|call| before.ends_with(call))
        // A file's own words, which are looked for and not printed.
        && !literal.ends_with(' ')
}

/// The parts of a format string between its arguments.
fn fixed(literal: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for character in literal.chars() {
        match (character, inside) {
            ('{', _) => {
                parts.push(String::new());
                inside = true;
            }
            ('}', _) => inside = false,
            (other, false) => {
                if let Some(last) = parts.last_mut() {
                    last.push(other);
                }
            }
            _ => {}
        }
    }
    parts
}

fn pattern(literal: &str) -> Result<Regex> {
    let parts: Vec<_> = fixed(literal.trim()).iter().map(|part| regex_lite::escape(part)).collect();
    Ok(Regex::new(&parts.join(".*"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_a_source() {
        let source = "a(\"b \\\"c\\\" {d}\", '\"', 'x) // \"no\"\n\"e \\\n   f\"";
        let texts: Vec<_> = strings(source).into_iter().map(|(_, _, text)| text).collect();
        assert_eq!(texts, ["b \"c\" {d}", "e f"]);
    }

    #[test]
    fn arguments_match_anything() {
        let regex = pattern("reading {path:?} of {}").unwrap();
        assert!(regex.is_match("reading \"/x\" of y") && !regex.is_match("reading x"));
    }

    #[test]
    fn what_is_a_message() {
        assert!(is_message("x.context(", "making / private"));
        assert!(!is_message("debug!(", "write a b"));
        assert!(!is_message("format!(", "{}: {line}"));
    }
}
