//! Results for people, and for programs.

use std::env;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chapter::Chapter;
use crate::grader::book::{Book, Section};
use crate::grader::grade::{Plan, Watcher};
use crate::grader::stops::{self, Stop};
use crate::grader::verdict::{Graded, Verdict};
use crate::see::{Failure, quoted};

/// How many checks passed, failed, could not be done.
pub(crate) fn counted(graded: &[Graded]) -> (usize, usize, usize) {
    let count = |is: fn(&Verdict) -> bool| graded.iter().filter(|one| is(&one.verdict)).count();
    (
        count(|verdict| matches!(verdict, Verdict::Pass)),
        count(|verdict| matches!(verdict, Verdict::Fail(_))),
        count(|verdict| matches!(verdict, Verdict::Skip(_))),
    )
}

/// For a person.
pub(crate) struct Text<'a> {
    plan: &'a Plan,
    book: &'a Book,
    /// The runtime as it was named: of a crate's directory, which is built anew each time, not the program in it.
    named: Option<&'a Path>,
    /// What is graded, if that is a stop.
    stop: Option<Stop>,
    colours: bool,
    terminal: bool,
    chapter: Option<Chapter>,
    began: Instant,
    /// Whether the last line on the screen is one that says what runs.
    progress: bool,
}

impl<'a> Text<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        book: &'a Book,
        named: Option<&'a Path>,
        stop: Option<Stop>,
    ) -> Text<'a> {
        let terminal = stdout().is_terminal();
        let colours = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (chapter, began, progress) = (None, Instant::now(), false);
        Text { plan, book, named, stop, colours, terminal, chapter, began, progress }
    }

    fn coloured(&self, colour: u8, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.progress) {
            self.print("\r\x1b[K");
        }
    }

    /// Not print: that panics when nobody reads any more (`cargo lab check 1 | head`).
    fn print(&self, text: &str) {
        let mut out = stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn explain(&self, graded: &Graded, failure: &Failure) -> String {
        let mut lines = Vec::new();
        let mut add = |what: &str, text: &str| {
            if !text.is_empty() {
                lines.push(format!("      {what:<9} {}\n", indented(text)));
            }
        };
        add("did:", &failure.did);
        add("expected:", &failure.expected);
        add("saw:", &failure.saw);
        add("left:", &graded.left.join("\n"));
        add("read:", &self.book.section(graded.check).to_string());
        add("hint:", &format!("cargo lab hint {}", graded.check.id));
        lines.concat()
    }

    /// The last words: how many, and what now.
    pub(crate) fn end(mut self, graded: &[Graded]) {
        self.clear();
        let (passed, failed, skipped) = counted(graded);
        let mut words = format!("\n{passed} of {} pass", graded.len());
        if failed > 0 {
            words += &format!(", {failed} fail");
        }
        if skipped > 0 {
            words += &format!(", {skipped} cannot be checked here");
        }
        words += &format!(" ({:.0} s)\n", self.began.elapsed().as_secs_f64());
        let red = graded.iter().filter(|one| one.failure().is_some());
        if let Some(first) = self.book.first(red.map(|one| one.check)) {
            // At a stop, all but a few things are there.
            if failed >= passed && self.stop.is_none() {
                words += "\nSo much red is how it begins: nothing is written yet, or it does not hang together yet. Each check is one\n\
                          thing to get right, and many turn green together.\n";
            }
            words += &format!("\nBegin with {}: {}\n", self.coloured(1, first.id), first.says);
            words += &format!("  read: {}\n", self.book.section(first));
            let runtime = self.named.map_or_else(String::new, |path| format!("--runtime {} ", quoted(path)));
            words += &format!("  then: cargo lab check {} {runtime}{}\n", self.plan.chapter.name(), first.id);
        }
        match &self.stop {
            Some(stop) if failed > 0 => {
                let (chapter, number) = (stop.chapter.name(), stop.number);
                words += &format!("  stuck? cargo lab checkpoint {chapter} --stop {number} PATH\n");
            }
            Some(stop) => {
                if let Some(next) = stops::next(stop) {
                    words +=
                        &format!("\nOn to stop {}: {}\n  {}\n", next.number, next.heading, next.address());
                }
            }
            None => {}
        }
        self.print(&words);
    }
}

/// Further lines start below the first; and not too many of them.
fn indented(text: &str) -> String {
    const MOST: usize = 1500;
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { " ... (--json has all of it)" } else { "" };
    // What a runtime wrote could move the cursor, or worse.
    let clean: String = text[..end].chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    format!("{clean}{more}").replace('\n', &format!("\n{:16}", ""))
}

impl Watcher for Text<'_> {
    fn result(&mut self, graded: &Graded) {
        self.clear();
        let check = graded.check;
        let mut words = String::new();
        if self.chapter.replace(check.since) != Some(check.since) {
            words += &format!("\n{}\n", self.coloured(1, check.since.title()));
        }
        let (mark, rest) = match &graded.verdict {
            Verdict::Pass => (self.coloured(32, "\u{2713}"), String::new()),
            Verdict::Fail(failure) => (self.coloured(31, "\u{2717}"), self.explain(graded, failure)),
            Verdict::Skip(reason) => (self.coloured(33, "-"), format!("      not checked: {reason}\n")),
        };
        words += &format!("  {mark} {:<26} {}\n{rest}", check.id, check.says);
        self.print(&words);
    }

    fn waiting(&mut self, done: usize, running: &[(&'static str, Duration)]) {
        // Only what takes long enough for someone to wonder.
        let slow = running.iter().filter(|(_, time)| *time > Duration::from_secs(1));
        let names: Vec<_> = slow.map(|(id, time)| format!("{id} {} s", time.as_secs())).collect();
        if !self.terminal || names.is_empty() {
            return;
        }
        let line: String = format!("  {done}/{} ... {}", self.plan.checks.len(), names.join(", "));
        self.print(&format!("\r\x1b[K{}", line.chars().take(78).collect::<String>()));
        self.progress = true;
    }
}

/// For a program: a line for each check, and one for all.
pub(crate) struct Json<'a> {
    plan: &'a Plan,
    book: Book,
    began: Instant,
}

impl<'a> Json<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Json<'a> {
        Json { plan, book: Book::read(), began: Instant::now() }
    }

    pub(crate) fn end(self, graded: &[Graded]) {
        let (pass, fail, skip) = counted(graded);
        say(&json!({ "summary": {
            "chapter": self.plan.chapter.name(),
            "runtime": self.plan.runtime.to_string_lossy(),
            "pass": pass, "fail": fail, "skip": skip,
            "seconds": rounded(self.began.elapsed().as_secs_f64()),
        }}));
    }
}

impl Watcher for Json<'_> {
    fn result(&mut self, graded: &Graded) {
        say(&as_json(graded, &self.book.section(graded.check)));
    }
}

fn say(value: &Value) {
    // As above: whoever read may be gone.
    let _ = writeln!(stdout(), "{value}");
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// One result. The names of the fields are a promise: README.md.
fn as_json(graded: &Graded, section: &Section) -> Value {
    let check = graded.check;
    let mut value = json!({
        "id": check.id,
        "chapter": check.since.name(),
        "says": check.says,
        "seconds": rounded(graded.seconds),
        "left": graded.left,
        "page": section.to_string(),
        "section": section.heading,
    });
    let more = match &graded.verdict {
        Verdict::Pass => json!({ "outcome": "pass" }),
        Verdict::Skip(reason) => json!({ "outcome": "skip", "reason": reason }),
        Verdict::Fail(Failure { did, expected, saw }) => {
            json!({ "outcome": "fail", "did": did, "expected": expected, "saw": saw })
        }
    };
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}
