//! How long a page is, to read and to type.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use items::include::Include;
use lab::Chapter;

use crate::learner::{self, Block, Event, Learner};
use crate::markdown;
use crate::page::Page;
use crate::sources::library;

/// The most words of a page.
pub const WORDS: usize = 4500;
/// The most lines of Rust that are typed on a page.
pub const TYPED: usize = 300;
/// The most lines of Rust that are typed between two stops.
pub const TYPED_BETWEEN: usize = 150;
/// The most new ideas between two stops.
pub const IDEAS_BETWEEN: usize = 10;
/// The most lines of a block of Rust.
pub const BLOCK: usize = 25;
/// The most lines of a page's blocks of Rust, on the average.
pub const BLOCK_AVERAGE: f64 = 12.0;
/// The fewest words for each typed line, in the sections that have some.
pub const WORDS_A_LINE: f64 = 10.0;
/// The most words before the reader's own first container.
pub const FIRST_WORDS: usize = 2500;
/// The most typed lines before that.
pub const FIRST_TYPED: usize = 60;

/// One page.
#[derive(Debug, Clone, Default)]
pub struct Measure {
    /// Its name.
    pub page: String,
    /// Whether its code is typed.
    pub is_typed: bool,
    /// Words outside of blocks. A code span counts as one.
    pub words: usize,
    /// Lines of Rust to type.
    pub typed: usize,
    /// Their characters, without what an editor indents.
    pub characters: usize,
    /// How many lines each block of Rust has, but for empty ones, and the line of the page where it begins.
    pub blocks: Vec<(usize, usize)>,
    /// Words in the second-level sections that have something to type.
    pub words_beside: usize,
    /// New ideas.
    pub ideas: usize,
    /// Stops.
    pub stops: usize,
    /// Drawings.
    pub figures: usize,
    /// Exercises.
    pub exercises: usize,
    /// Commands to type. Of two versions of a block, one.
    pub commands: usize,
}

/// What lies between two stops.
#[derive(Debug, Clone, Default)]
pub struct Stretch {
    /// Where it ends: a stop's place, or the chapter's end.
    pub to: String,
    /// Lines of Rust to type.
    pub typed: usize,
    /// New ideas.
    pub ideas: usize,
}

/// From the first word to the reader's own container.
#[derive(Debug, Clone, Copy, Default)]
pub struct First {
    /// Words.
    pub words: usize,
    /// Lines of Rust to type.
    pub typed: usize,
}

/// All that is measured.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// Each page, in the book's order.
    pub pages: Vec<Measure>,
    /// Each stretch of each chapter.
    pub stretches: Vec<Stretch>,
    /// Until chapter 1's first stop, if it has one.
    pub first: Option<First>,
    /// What could not be measured, and why.
    pub broken: Vec<String>,
}

impl Measure {
    /// The longest block of Rust.
    pub fn longest(&self) -> usize {
        self.blocks.iter().map(|(_, lines)| *lines).max().unwrap_or(0)
    }

    /// The blocks' average.
    pub fn average(&self) -> f64 {
        let sum: usize = self.blocks.iter().map(|(_, lines)| *lines).sum();
        if self.blocks.is_empty() { 0.0 } else { sum as f64 / self.blocks.len() as f64 }
    }

    /// Words for each typed line, in the sections that have some.
    pub fn words_a_line(&self) -> Option<f64> {
        (self.typed > 0).then(|| self.words_beside as f64 / self.typed as f64)
    }

    /// How long it takes: to read 200 words, or to type 180 characters of Rust, is a minute, and a command is 20 seconds.
    pub fn minutes(&self) -> usize {
        let minutes = self.words as f64 / 200.0 + self.commands as f64 / 3.0 + self.characters as f64 / 180.0;
        minutes.round() as usize
    }
}

/// Minutes in words, to a quarter of an hour.
pub fn in_words(minutes: usize) -> String {
    let quarters = ((minutes + 7) / 15).max(1);
    let hours = match quarters / 4 {
        1 => "an hour".to_string(),
        hours => {
            let words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
            format!("{} hours", words.get(hours).map_or(hours.to_string(), |word| word.to_string()))
        }
    };
    match (quarters / 4, quarters % 4) {
        (0, 1) => "a quarter of an hour".to_string(),
        (0, 2) => "half an hour".to_string(),
        (0, _) => "three quarters of an hour".to_string(),
        (_, 0) => hours,
        (_, rest) => format!("{hours} and {}", ["", "a quarter", "a half", "three quarters"][rest]),
    }
}

/// The line with other words between `<!-- time -->`, or `<!-- time: PAGE -->`, and `<!-- /time -->`.
pub fn with_times(line: &str, time: impl Fn(Option<&str>) -> Option<String>) -> String {
    const END: &str = "<!-- /time -->";
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("<!-- time") {
        let parts = after.split_once("-->").and_then(|(page, after)| Some((page, after.split_once(END)?)));
        let Some((page, (old, later))) = parts else { break };
        let named = page.trim().strip_prefix(':').map(str::trim);
        let words = time(named).unwrap_or(old.to_string());
        out += &format!("{before}<!-- time{page}-->{words}{END}");
        rest = later;
    }
    out + rest
}

/// The pages, with the times that were measured.
pub fn timed(measures: &Measures) -> Result<Vec<Page>> {
    let mut pages = Page::all()?;
    for page in &mut pages {
        let own = page.name.clone();
        let minutes = |name: Option<&str>| {
            let name = name.unwrap_or(&own);
            Some(in_words(measures.pages.iter().find(|one| one.page == name)?.minutes()))
        };
        page.lines = page.lines.iter().map(|line| with_times(line, minutes)).collect();
    }
    Ok(pages)
}

/// Measures all pages.
pub fn all() -> Result<Measures> {
    let library = library();
    let mut measures = Measures::default();
    let mut learner: Option<(Chapter, Learner, Stretch)> = None;
    let mut first = First::default();
    for mut page in Page::all()? {
        // A time must not change what it is measured by.
        page.lines = page.lines.iter().map(|line| with_times(line, |_| Some("time".to_string()))).collect();
        let mut measure = read(&page);
        let chapter = Chapter::of_page(&page.name).filter(|one| Chapter::typed().any(|typed| typed == *one));
        measure.is_typed = chapter.is_some();
        let sections = sections(&page);
        let mut beside: Vec<usize> = Vec::new();
        if let Some(chapter) = chapter {
            if learner.as_ref().is_none_or(|(before, ..)| *before != chapter) {
                end(&mut measures, learner.take());
                learner = Some((chapter, Learner::before(&library, chapter)?, Stretch::default()));
            }
            let Some((_, learner, stretch)) = &mut learner else { continue };
            let events = learner::events(&library, &page);
            let broken = events.as_ref().err().map(|error| format!("{error:#}"));
            measures.broken.extend(broken);
            for event in events.unwrap_or_default() {
                match event {
                    Event::Block(block) => {
                        let lines = typed_lines(&block, learner);
                        let broken = learner.type_in(&block, &page, &library).err();
                        measures.broken.extend(broken.map(|error| format!("{error:#}")));
                        measure.typed += lines.len();
                        measure.characters +=
                            lines.iter().map(|line| line.trim().chars().count() + 1).sum::<usize>();
                        stretch.typed += lines.len();
                        first.typed += lines.len();
                        if !lines.is_empty() {
                            beside.extend(sections.iter().rposition(|(line, _)| *line <= block.index));
                        }
                    }
                    Event::New(_, ideas) => {
                        measure.ideas += ideas.len();
                        stretch.ideas += ideas.len();
                    }
                    Event::Stop(index, _) => {
                        measure.stops += 1;
                        stretch.to = page.place(index);
                        measures.stretches.push(std::mem::take(stretch));
                        if measures.first.is_none() {
                            let words = first.words + words(&page, 0..index);
                            measures.first = Some(First { words, ..first });
                        }
                    }
                }
            }
        }
        beside.dedup();
        measure.words_beside = beside.into_iter().map(|at| sections[at].1).sum();
        first.words += measure.words;
        measures.pages.push(measure);
    }
    end(&mut measures, learner.take());
    Ok(measures)
}

/// The end of a chapter.
fn end(measures: &mut Measures, learner: Option<(Chapter, Learner, Stretch)>) {
    if let Some((chapter, _, mut stretch)) = learner.filter(|(.., stretch)| stretch.typed > 0) {
        stretch.to = format!("the end of chapter {}", chapter.name());
        measures.stretches.push(stretch);
    }
}

/// What a page has for everyone who reads it.
fn read(page: &Page) -> Measure {
    let library = library();
    let mut measure = Measure { page: page.name.clone(), ..Measure::default() };
    measure.words = words(page, 0..page.lines.len());
    let blocks = page.blocks();
    let has_v2 = blocks.iter().any(|block| block.is("v2"));
    for block in &blocks {
        let lines = &page.lines[block.start..block.end];
        if block.is("rust") {
            let items = lines.iter().filter_map(|line| items::include::item(line));
            let text = items.filter_map(|inside| library.include(inside).ok());
            let text = text.map(|Include { source, lines }| source.text(&lines)).collect::<String>();
            measure.blocks.push((block.start, text.lines().filter(|line| !line.trim().is_empty()).count()));
        } else if block.is("console") && !(block.is("v1") && has_v2) {
            let is_typed =
                |line: &&String| ["$ ", "# ", "/ # "].iter().any(|prompt| line.starts_with(prompt));
            measure.commands += lines.iter().filter(is_typed).count();
        }
    }
    measure.figures = page.lines.iter().filter(|line| line.contains("{{#include drawings/")).count();
    let headings = markdown::headings(page);
    let mut second = "";
    for heading in &headings {
        match heading.level {
            2 => second = &heading.text,
            3 if second == "Exercises" => measure.exercises += 1,
            _ => {}
        }
    }
    measure
}

/// The words of some lines of a page: what stands outside of blocks, comments and tags.
pub fn words(page: &Page, lines: std::ops::Range<usize>) -> usize {
    let prose = markdown::prose(page);
    let lines = prose.iter().filter(|(index, line)| lines.contains(index) && !line.contains("{{#"));
    lines.map(|(_, line)| without_tags(line).split_whitespace().filter(|word| is_word(word)).count()).sum()
}

/// Not a bar of a table, nor the mark of a heading or a list.
fn is_word(word: &str) -> bool {
    word.contains('`') || word.chars().any(char::is_alphanumeric)
}

fn without_tags(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((tag, later)) = after.split_once('>') else { break };
        out += before;
        if !tag.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') {
            out += &format!("<{tag}>");
        }
        rest = later;
    }
    out + rest
}

/// The second-level sections of a page: the line where each begins, and its words. The first is what stands above them.
fn sections(page: &Page) -> Vec<(usize, usize)> {
    let headings = markdown::headings(page).into_iter().filter(|heading| heading.level == 2);
    let starts: Vec<_> = std::iter::once(0).chain(headings.map(|heading| heading.line)).collect();
    let ends = starts.iter().skip(1).copied().chain([page.lines.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| (start, words(page, start..end))).collect()
}

/// The lines of a block that a learner types: no empty ones, no comments, none that are in the file already.
fn typed_lines(block: &Block, learner: &Learner) -> Vec<String> {
    let Include { source, lines } = &block.include;
    let written = learner.typed.written.get(&source.path);
    let is_main = items::typed::own_file(&source.path) == "src/main.rs";
    let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let new = lines.iter().filter(|index| written.is_none_or(|written| !written.lines.contains(index)));
    let new = new.map(|index| source.lines[*index].clone()).filter(|line| is_code(line));
    // A program in the place of another: what differs, whatever has become of the order.
    let mut there: BTreeMap<&str, usize> = BTreeMap::new();
    let old = learner.replaced(&source.path);
    if is_main {
        for line in old.lines() {
            *there.entry(line).or_default() += 1;
        }
    }
    let mut is_new = |line: &String| match there.get_mut(line.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    new.filter(|line| is_new(line)).collect()
}

/// What is over a limit, in sentences.
pub fn over(measures: &Measures) -> Vec<String> {
    let mut over = measures.broken.clone();
    for page in measures.pages.iter().filter(|page| page.is_typed) {
        let name = &page.page;
        let mut say = |is: bool, what: String| over.extend(is.then(|| format!("{name}: {what}")));
        say(page.words > WORDS, format!("{} words, and {WORDS} are the most", page.words));
        say(page.typed > TYPED, format!("{} typed lines, and {TYPED} are the most", page.typed));
        let average = page.average();
        say(
            average > BLOCK_AVERAGE,
            format!("{average:.1} lines a block of Rust, and {BLOCK_AVERAGE} are the most"),
        );
        for (line, count) in page.blocks.iter().filter(|(_, count)| *count > BLOCK) {
            say(true, format!("line {line}: a block of {count} lines, and {BLOCK} are the most"));
        }
        if let Some(beside) = page.words_a_line() {
            say(
                beside < WORDS_A_LINE,
                format!("{beside:.1} words for each typed line, and {WORDS_A_LINE} are the fewest"),
            );
        }
    }
    for Stretch { to, typed, ideas } in &measures.stretches {
        let mut say = |is: bool, what: String| over.extend(is.then(|| format!("up to {to}: {what}")));
        say(
            *typed > TYPED_BETWEEN,
            format!("{typed} typed lines without a run, and {TYPED_BETWEEN} are the most"),
        );
        say(
            *ideas > IDEAS_BETWEEN,
            format!("{ideas} new ideas without a run, and {IDEAS_BETWEEN} are the most"),
        );
        say(*typed > 0 && *ideas == 0, "no <!-- new: … -->, and something is typed".to_string());
    }
    match measures.first {
        None => over.push("chapter 1 has no stop".to_string()),
        Some(First { words, typed }) => {
            let mut say = |is: bool, what: String| over.extend(is.then_some(what));
            let first = "before the reader's first container";
            say(words > FIRST_WORDS, format!("{words} words {first}, and {FIRST_WORDS} are the most"));
            say(typed > FIRST_TYPED, format!("{typed} typed lines {first}, and {FIRST_TYPED} are the most"));
        }
    }
    over
}

/// The table of all pages.
pub fn table(measures: &Measures) -> Result<String> {
    ensure!(!measures.pages.is_empty(), "no pages");
    let mut table = format!(
        "{:24} {:>6} {:>6} {:>7} {:>4} {:>5} {:>6} {:>6} {:>6} {:>8} {:>10} {:>9} {:>8}\n",
        "page",
        "words",
        "typed",
        "blocks",
        "max",
        "avg",
        "w/line",
        "ideas",
        "stops",
        "figures",
        "exercises",
        "commands",
        "minutes"
    );
    for page in &measures.pages {
        let beside = page.words_a_line().map_or(String::new(), |beside| format!("{beside:.1}"));
        table += &format!(
            "{:24} {:>6} {:>6} {:>7} {:>4} {:>5.1} {:>6} {:>6} {:>6} {:>8} {:>10} {:>9} {:>8}\n",
            page.page,
            page.words,
            page.typed,
            page.blocks.len(),
            page.longest(),
            page.average(),
            beside,
            page.ideas,
            page.stops,
            page.figures,
            page.exercises,
            page.commands,
            page.minutes()
        );
    }
    table += "\nbetween two stops      typed  ideas\n";
    for stretch in &measures.stretches {
        table += &format!("{:>5} {:>5}   up to {}\n", stretch.typed, stretch.ideas, stretch.to);
    }
    if let Some(First { words, typed }) = measures.first {
        table += &format!("\nbefore the reader's first container: {words} words, {typed} typed lines\n");
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_as_words() {
        let words = |minutes| in_words(minutes);
        assert_eq!(words(3), "a quarter of an hour");
        assert_eq!(words(40), "three quarters of an hour");
        assert_eq!(words(62), "an hour");
        assert_eq!(words(75), "an hour and a quarter");
        assert_eq!(words(150), "two hours and a half");
        assert_eq!(words(240), "four hours");
    }

    #[test]
    fn times_between_marks() {
        let time = |page: Option<&str>| match page {
            None => Some("an hour".to_string()),
            Some("ch02-cgroups") => Some("two hours".to_string()),
            Some(_) => None,
        };
        let line = "A <!-- time -->x<!-- /time -->, <!-- time: ch02-cgroups --><!-- /time -->, <!-- time: no -->y<!-- /time -->.";
        let filled = "A <!-- time -->an hour<!-- /time -->, <!-- time: ch02-cgroups -->two hours<!-- /time -->, <!-- time: no -->y<!-- /time -->.";
        assert_eq!(with_times(line, time), filled);
        assert_eq!(with_times("<!-- time -->open", time), "<!-- time -->open");
    }

    #[test]
    fn words_are_what_is_read() {
        let text = "# Two words\n\n<p class=\"x\">one</p> `a b` is 5 -- | <!-- no --> https://x\n```\nno\n```\n- end\n{{#include x}}\n";
        let lines = text.lines().map(String::from).collect();
        let page = Page { path: std::path::PathBuf::new(), name: String::new(), lines };
        assert_eq!(words(&page, 0..page.lines.len()), 2 + 5 + 1);
        assert_eq!(words(&page, 0..1), 2);
    }
}
