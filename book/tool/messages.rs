//! What the chapters can tell a user: the sentences in their sources.

use anyhow::{Context, Result, anyhow};
use lab::Chapter;
use proc_macro2::{TokenStream, TokenTree};
use regex_lite::Regex;

use crate::sources::{self, library};

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
    let library = library();
    let mut messages: Vec<Message> = Vec::new();
    for chapter in Chapter::ALL {
        for source in sources::of_chapter(&library, chapter)? {
            let taught = source.taught();
            for Literal { line, call, text } in strings(&source.lines.join("\n"))? {
                if !taught.contains(&line)
                    || !is_message(&call, &text)
                    || messages.iter().any(|other| other.text == text)
                {
                    continue;
                }
                let place = format!("{}:{}", source.path, line + 1);
                let printed = pattern(&text).with_context(|| place.clone())?;
                messages.push(Message { place, text, printed });
            }
        }
    }
    Ok(messages)
}

/// A string in a source.
struct Literal {
    /// Index of its line.
    line: usize,
    /// If it is the first argument of a call: `debug!`, `join`.
    call: String,
    text: String,
}

/// The strings of a source, those that macros get included. Docs are none.
fn strings(source: &str) -> Result<Vec<Literal>> {
    let tokens: TokenStream = source.parse().map_err(|error| anyhow!("this is no Rust: {error}"))?;
    let mut found = Vec::new();
    find_strings(tokens, "", &mut found);
    Ok(found)
}

fn find_strings(tokens: TokenStream, call: &str, found: &mut Vec<Literal>) {
    let mut before = String::new();
    for (index, token) in tokens.into_iter().enumerate() {
        match token {
            // `#[doc = "…"]` is what `///` is to the compiler.
            TokenTree::Group(group) if !group.stream().to_string().starts_with("doc =") => {
                find_strings(group.stream(), &before, found);
                before.clear();
            }
            TokenTree::Ident(name) => before = name.to_string(),
            TokenTree::Punct(sign) if sign.as_char() == '!' => before.push('!'),
            TokenTree::Literal(literal) => {
                let line = literal.span().start().line - 1;
                if let syn::Lit::Str(string) = syn::Lit::new(literal) {
                    let call = if index == 0 { call.to_string() } else { String::new() };
                    found.push(Literal { line, call, text: string.value() });
                }
                before.clear();
            }
            _ => before.clear(),
        }
    }
}

fn is_message(call: &str, literal: &str) -> bool {
    let not_printed = ["debug!", "strip_prefix", "trim_start_matches", "join"];
    let words = fixed(literal).concat();
    literal.contains(' ')
        && words.split(|c: char| !c.is_alphabetic()).any(|word| word.len() > 2)
        && !not_printed.contains(&call)
        // What is printed is one line. A script may have more.
        && !literal.contains('\n')
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
        let source = "/// \"no\"\nfn f() {\n a!(\"b \\\"c\\\" {d}\", '\"'); // \"no\"\n x.join(y, r\"e\", \"f \\\n   g\");}";
        let found = strings(source).unwrap();
        let found: Vec<_> =
            found.iter().map(|one| (one.line, one.call.as_str(), one.text.as_str())).collect();
        assert_eq!(found, [(2, "a!", "b \"c\" {d}"), (3, "", "e"), (3, "", "f g")]);
    }

    #[test]
    fn arguments_match_anything() {
        let regex = pattern("reading {path:?} of {}").unwrap();
        assert!(regex.is_match("reading \"/x\" of y") && !regex.is_match("reading x"));
    }

    #[test]
    fn what_is_a_message() {
        assert!(is_message("context", "making / private"));
        assert!(!is_message("debug!", "write a b"));
        assert!(!is_message("format!", "{}: {line}"));
    }
}
