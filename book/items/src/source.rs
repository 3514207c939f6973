//! One Rust file: its items, and the lines of each.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Result, bail, ensure};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, ImplItem, Item, ItemImpl, Meta, Type, UseTree};

/// Indexes of lines.
pub type Lines = BTreeSet<usize>;

/// A file of a chapter.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path below the top of the repository.
    pub path: String,
    /// All its lines.
    pub lines: Vec<String>,
    /// Its parts that learners type, in the file's order.
    pub parts: Vec<Part>,
    /// What stands behind `#[cfg(test)]`.
    tests: Lines,
}

/// What has a name: an item, a method, the docs at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is called by, the usual name first.
    pub names: Vec<String>,
    /// What kind of part it is.
    pub kind: Kind,
    /// Its lines, with its docs, attributes and the comments right above it.
    pub lines: Range<usize>,
    /// Of a method: the lines of its `impl` down to the brace, and the closing one.
    pub frame: Option<[Range<usize>; 2]>,
}

/// What kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The `//!` lines and `#![…]` at the top.
    Docs,
    /// A `use`.
    Use,
    /// Any other item.
    Item,
}

impl Part {
    /// The name by which a sentence calls it.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether it is a `use` of something in there: `use a::b` is below `use a`, `use ab` is not.
    fn is_below(&self, name: &str) -> bool {
        let rest = self.name().strip_prefix(name);
        self.kind == Kind::Use && name.starts_with("use ") && rest.is_some_and(|rest| rest.starts_with("::"))
    }

    /// Its lines and those of its frame.
    pub fn framed(&self) -> impl Iterator<Item = usize> {
        self.frame.clone().into_iter().flatten().flatten().chain(self.lines.clone())
    }
}

impl Source {
    /// Takes a file apart.
    pub fn parse(path: &str, text: &str) -> Result<Source> {
        let file = syn::parse_file(text).map_err(|error| {
            anyhow::anyhow!("{path}:{}: this is no Rust: {error}", error.span().start().line)
        })?;
        let lines: Vec<_> = text.lines().map(String::from).collect();
        let mut source = Source { path: path.to_string(), lines, parts: Vec::new(), tests: Lines::new() };
        if let (Some(first), Some(last)) = (file.attrs.first(), file.attrs.last()) {
            let docs = source.with_comments(first.span().start().line - 1..last.span().end().line);
            source.parts.push(Part {
                names: vec!["docs".into()],
                kind: Kind::Docs,
                lines: docs,
                frame: None,
            });
        }
        for item in &file.items {
            let lines = source.lines_at(item.span());
            if attributes(item).is_some_and(is_for_tests) {
                source.tests.extend(lines);
            } else {
                source.add(item, lines, text);
            }
        }
        Ok(source)
    }

    fn add(&mut self, item: &Item, lines: Range<usize>, text: &str) {
        let (names, kind) = match item {
            Item::Impl(block) if block.trait_.is_none() && !block.items.is_empty() => {
                return self.add_methods(block, lines, text);
            }
            Item::Use(line) => (vec![format!("use {}", path(&line.tree))], Kind::Use),
            other => (names(other, text), Kind::Item),
        };
        self.parts.push(Part { names, kind, lines, frame: None });
    }

    /// The methods of `impl Type`, each in the frame of the whole.
    fn add_methods(&mut self, block: &ItemImpl, lines: Range<usize>, text: &str) {
        let name = type_name(&block.self_ty, text);
        let braces = block.brace_token.span;
        let frame = [lines.start..braces.open().end().line, braces.close().start().line - 1..lines.end];
        for member in &block.items {
            let ident = match member {
                ImplItem::Fn(function) => function.sig.ident.to_string(),
                ImplItem::Const(constant) => constant.ident.to_string(),
                ImplItem::Type(alias) => alias.ident.to_string(),
                other => code(other.span(), text),
            };
            let names = vec![format!("{name}::{ident}"), format!("impl {name}")];
            let lines = self.lines_at(member.span());
            self.parts.push(Part { names, kind: Kind::Item, lines, frame: Some(frame.clone()) });
        }
    }

    fn lines_at(&self, span: Span) -> Range<usize> {
        self.with_comments(span.start().line - 1..span.end().line)
    }

    /// The comments right above belong to what stands below them.
    fn with_comments(&self, mut lines: Range<usize>) -> Range<usize> {
        let is_comment = |line: &str| line.starts_with("//") && !line.starts_with("//!");
        while lines.start > 0 && is_comment(self.lines[lines.start - 1].trim_start()) {
            lines.start -= 1;
        }
        lines
    }

    /// The lines that a name of an include stands for:
    ///
    /// - `head`: the docs at the top and all `use` lines; `head without use a::b and use c`: but not these;
    /// - `name`: a function, a type, a constant, a macro, alone;
    /// - `Type::method`: a method within the frame of its `impl Type { … }`; `impl Type`: all methods;
    /// - `impl Trait for Type`: all of it;
    /// - `mod name`: this line; `use path`: the one that says just this (up to its braces), or else all below it.
    pub fn lines_of(&self, name: &str) -> Result<Lines> {
        let Some(rest) = name.strip_prefix("head") else { return self.called(name) };
        let mut lines: Lines =
            self.parts.iter().filter(|part| part.kind != Kind::Item).flat_map(Part::framed).collect();
        match rest.trim_start().strip_prefix("without ") {
            Some(held_back) => {
                for name in held_back.split(" and ").map(str::trim) {
                    ensure!(name.starts_with("use "), "only `use` lines can be held back, and not {name:?}");
                    for index in self.called(name)? {
                        lines.remove(&index);
                    }
                }
            }
            None if rest.is_empty() => {
                ensure!(!lines.is_empty(), "{} has neither docs nor `use` lines", self.path)
            }
            None => return self.called(name),
        }
        Ok(lines)
    }

    fn called(&self, name: &str) -> Result<Lines> {
        let called = |is: fn(&Part, &str) -> bool| -> Lines {
            self.parts.iter().filter(|part| is(part, name)).flat_map(Part::framed).collect()
        };
        let mut lines = called(Part::is_called);
        if lines.is_empty() {
            lines = called(Part::is_below);
        }
        if lines.is_empty() {
            let is_use = name.starts_with("use ");
            let like_it = self.parts.iter().filter(|part| (part.kind == Kind::Use) == is_use);
            let names: Vec<_> = like_it.filter(|part| part.kind != Kind::Docs).map(Part::name).collect();
            bail!("{} has no {name:?}; there are: head, {}", self.path, names.join(", "));
        }
        Ok(lines)
    }

    /// Whether these lines have all of a part, but for empty ones.
    pub fn has(&self, lines: &Lines, part: &Part) -> bool {
        part.lines.clone().all(|index| lines.contains(&index) || self.lines[index].trim().is_empty())
    }

    /// Whether these lines have all above the first item: the docs and all `use` lines.
    pub fn has_head(&self, lines: &Lines) -> bool {
        self.parts.iter().filter(|part| part.kind != Kind::Item).all(|part| self.has(lines, part))
    }

    /// The lines that learners type, but for empty ones.
    pub fn taught(&self) -> Lines {
        let is_taught = |index: &usize| !self.lines[*index].trim().is_empty() && !self.tests.contains(index);
        (0..self.lines.len()).filter(is_taught).collect()
    }

    /// Lines that belong to nothing which has a name, so that no page can show them: comments between empty lines.
    pub fn strays(&self) -> Lines {
        let named: Lines = self.parts.iter().flat_map(Part::framed).collect();
        self.taught().difference(&named).copied().collect()
    }

    /// The lines in the file's order, with an empty one where the file has one or more between them.
    pub fn text(&self, lines: &Lines) -> String {
        let frames: Vec<_> = self.parts.iter().filter_map(|part| part.frame.as_ref()).collect();
        let opens = |index: usize| frames.iter().any(|[open, _]| open.end == index + 1);
        let closes = |index: usize| frames.iter().any(|[_, close]| close.start == index);
        let mut text = String::new();
        let mut last: Option<usize> = None;
        for index in lines.iter().copied().filter(|index| !self.lines[*index].trim().is_empty()) {
            if let Some(last) = last
                && self.lines[last..index].iter().any(|line| line.trim().is_empty())
                && !opens(last)
                && !closes(index)
            {
                text.push('\n');
            }
            text += &self.lines[index];
            text.push('\n');
            last = Some(index);
        }
        text
    }
}

/// What the source says at a place, on one line.
fn code(span: Span, text: &str) -> String {
    text[span.byte_range()].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of an item that is no `use`.
fn names(item: &Item, text: &str) -> Vec<String> {
    let name = match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::ExternCrate(item) => format!("extern crate {}", item.ident),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Impl(item) => return impl_names(item, text),
        Item::Macro(item) => {
            let called = item.mac.path.segments.last().map(|segment| format!("{}!", segment.ident));
            item.ident.as_ref().map(|ident| ident.to_string()).or(called).unwrap_or_default()
        }
        Item::Mod(item) => format!("mod {}", item.ident),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::TraitAlias(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        other => code(other.span(), text),
    };
    vec![name]
}

/// `impl Trait for Type`, without and with what stands in angle brackets.
fn impl_names(item: &ItemImpl, text: &str) -> Vec<String> {
    let own = type_name(&item.self_ty, text);
    let Some((path, _)) = &item.trait_ else { return vec![format!("impl {own}")] };
    let last = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    let short = format!("impl {last} for {own}");
    let long = format!("impl {} for {}", code(path.span(), text), code(item.self_ty.span(), text));
    vec![short, long]
}

/// `Type` of `module::Type<'_>`.
fn type_name(of: &Type, text: &str) -> String {
    match of {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
        other => code(other.span(), text),
    }
}

/// `a::b` of `use a::b::{c, d}`, `a::b::c` of `use a::b::c`.
fn path(tree: &UseTree) -> String {
    match tree {
        UseTree::Path(path_) => {
            let rest = path(&path_.tree);
            if rest.is_empty() { path_.ident.to_string() } else { format!("{}::{rest}", path_.ident) }
        }
        UseTree::Name(name) => name.ident.to_string(),
        UseTree::Rename(name) => name.ident.to_string(),
        _ => String::new(),
    }
}

fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}
