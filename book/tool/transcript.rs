//! Types a page's console blocks into real terminals, and compares what appears with what the page says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use items::console::{continuation, key_of, prompt_of};
use lab::Chapter;
use regex_lite::Regex;
use similar::{ChangeTag, TextDiff};

use crate::page::{Block, Page};
use crate::stage::{self, Stage, Store};
use crate::terminal::{Seen, Terminal};
use crate::{learner, repo};

/// No command of a page takes longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that goes on has then said what it has to say.
const QUIET: Duration = Duration::from_millis(500);
/// The same, while some process of the page is computing.
const QUIET_BUT_RUNNING: Duration = Duration::from_millis(1500);
/// A program that went on has then come to its end, if it does.
const SLOW_END: Duration = Duration::from_secs(10);
/// Output that the page expects has then appeared.
const LATE_OUTPUT: Duration = Duration::from_secs(5);
/// Stands for any lines.
const ANY: &str = "…";

/// What to do with output that is not as the page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bless {
    /// Fail.
    No,
    /// Write it into the page.
    Changes,
    /// Write all output into the page, also where it differs only in what varies.
    All,
}

impl Bless {
    /// From the environment: `BLESS=1`, or `BLESS=all`.
    pub fn from_environment() -> Bless {
        match std::env::var("BLESS").as_deref() {
            Ok("all") => Bless::All,
            Ok("" | "0") | Err(_) => Bless::No,
            Ok(_) => Bless::Changes,
        }
    }
}

/// Something to do at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Output that came after the terminal's last block: the end of a program that went on.
    Pending,
    /// Lines typed at a prompt; all but the first at the second prompt.
    Type { prompt: String, lines: Vec<String> },
    /// A key such as `^C`.
    Key(char),
}

/// A step, and the lines of the page that hold its expected output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    step: Step,
    /// Index of the line that is typed; for [`Step::Pending`], of the first line of output.
    line: usize,
    /// The output's lines: from, to.
    output: (usize, usize),
}

fn actions(page: &Page, block: &Block) -> Vec<Action> {
    let pending = (block.start, block.start);
    let mut actions = vec![Action { step: Step::Pending, line: block.start, output: pending }];
    let mut index = block.start;
    while index < block.end {
        let line = page.lines[index].as_str();
        let step = match (prompt_of(line), key_of(line)) {
            (Some((prompt, typed)), _) => {
                let mut lines = vec![typed.to_string()];
                while let Some(more) =
                    page.lines[index + 1..block.end].first().and_then(|line| continuation(line))
                {
                    lines.push(more.to_string());
                    index += 1;
                }
                Some(Step::Type { prompt: prompt.to_string(), lines })
            }
            (None, Some(key)) => Some(Step::Key(key)),
            (None, None) => None,
        };
        index += 1;
        match (step, actions.last_mut()) {
            (Some(step), _) => actions.push(Action { step, line: index - 1, output: (index, index) }),
            (None, Some(last)) => last.output.1 = index,
            (None, None) => {}
        }
    }
    actions
}

/// What is the same although it is written differently.
struct Alike {
    /// Given by the page: every match is as good as another.
    given: Vec<Regex>,
    /// Names that the kernel or the program makes up: each stands for the same one all over the page.
    names: Regex,
}

impl Alike {
    fn new(marks: &[&str]) -> Result<Alike> {
        // The page's own first: what a name takes for a number may be a part of what they match.
        let (mut given, mut named) = (Vec::new(), Vec::new());
        for mark in marks {
            let mut rest = mark.trim();
            while !rest.is_empty() {
                let (list, regex, after) = match rest.strip_prefix('/') {
                    Some(inside) => {
                        let end = inside.find("/ ").unwrap_or(inside.len().saturating_sub(1));
                        ensure!(inside[end..].starts_with('/'), "no closing slash in varies: {mark}");
                        (&mut given, inside[..end].to_string(), &inside[end + 1..])
                    }
                    None => {
                        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                        let regex = match word.trim_end_matches(',') {
                            "pid" => r"\b[0-9]{2,7}\b",
                            "size" => r"\b[0-9]+(\.[0-9]+)?[KMGTkmgt]?(i?B)?\b",
                            "time" => r"\b[0-9]+([:.,][0-9]+)*(ms|us|s|m)?\b",
                            other => bail!("varies: knows pid, size, time and /regex/, not {other:?}"),
                        };
                        (&mut named, regex.to_string(), after)
                    }
                };
                list.push(Regex::new(&regex).with_context(|| format!("varies: {regex}"))?);
                rest = after.trim();
            }
        }
        given.append(&mut named);
        let names = Regex::new(r"\b[0-9a-f]{12}\b|\[[0-9]{10}\]")?;
        Ok(Alike { given, names })
    }

    /// A line with what varies taken out, and the names in it.
    fn reduce(&self, line: &str) -> (String, Vec<String>) {
        let mut line = line.trim_end().to_string();
        let is_name = |text: &str| text.starts_with('[') || text.contains(|c: char| c.is_ascii_digit());
        let names = self.names.find_iter(&line).map(|found| found.as_str().to_string());
        let names = names.filter(|name| is_name(name)).collect();
        line =
            self.names
                .replace_all(&line, |found: &regex_lite::Captures<'_>| {
                    if is_name(&found[0]) { "\u{1}".to_string() } else { found[0].to_string() }
                })
                .into_owned();
        for regex in &self.given {
            line = regex.replace_all(&line, "\u{2}").into_owned();
        }
        (line, names)
    }
}

/// Which name in the page is which name of this run.
#[derive(Default)]
struct Names {
    actual: BTreeMap<String, String>,
    expected: BTreeMap<String, String>,
}

impl Names {
    /// Whether all pairs agree with what is known; then they are known too.
    fn agree(&mut self, pairs: &[(String, String)]) -> bool {
        let mut actual = self.actual.clone();
        let mut expected = self.expected.clone();
        for (one, other) in pairs {
            if actual.entry(one.clone()).or_insert_with(|| other.clone()) != other
                || expected.entry(other.clone()).or_insert_with(|| one.clone()) != one
            {
                return false;
            }
        }
        (self.actual, self.expected) = (actual, expected);
        true
    }
}

/// Compares lines; `…` stands for any. Returns the pairs of names if all is alike.
fn alike(alike: &Alike, expected: &[String], actual: &[String]) -> Option<Vec<(String, String)>> {
    let Some((first, rest)) = expected.split_first() else {
        return actual.is_empty().then(Vec::new);
    };
    if first.trim() == ANY {
        return (0..=actual.len()).find_map(|skip| self::alike(alike, rest, &actual[skip..]));
    }
    let (line, others) = actual.split_first()?;
    let ((one, names), (other, found)) = (alike.reduce(first), alike.reduce(line));
    if one != other {
        return None;
    }
    let mut pairs: Vec<_> = names.into_iter().zip(found).collect();
    pairs.extend(self::alike(alike, rest, others)?);
    Some(pairs)
}

/// What BLESS writes in the place of `expected`: lines that still hold stay as they are.
fn blessed(how: &Alike, expected: &[String], actual: &[String], names: &Names) -> Vec<String> {
    let mut kept = actual.to_vec();
    if let (Some(first), Some(last)) =
        (expected.iter().position(|l| l.trim() == ANY), expected.iter().rposition(|l| l.trim() == ANY))
    {
        let tail = expected.len() - 1 - last;
        if actual.len() >= first + tail {
            kept = actual[..first].to_vec();
            kept.push(ANY.to_string());
            kept.extend_from_slice(&actual[actual.len() - tail..]);
        }
    }
    for line in &mut kept {
        for (page, run) in &names.actual {
            *line = line.replace(run.as_str(), page);
        }
        let same = |old: &&String| {
            let ((old, was), (new, is)) = (how.reduce(old), how.reduce(line));
            old == new && was == is
        };
        if let Some(old) = expected.iter().find(same) {
            line.clone_from(old);
        }
    }
    kept
}

fn lines_of(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.split('\n').map(|line| line.trim_end().to_string()).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A terminal, and what is known of it.
struct Seat {
    terminal: Terminal,
    /// The prompt at which it waits; none while a program goes on.
    prompt: Option<String>,
}

/// A page's run.
struct Run<'a> {
    page: &'a Page,
    stage: &'a mut Stage,
    seats: [Option<Seat>; 2],
    names: Names,
    bless: Bless,
    /// Whether `RUN` is a learner's program.
    own: bool,
    /// Lines of the page to be replaced, in their order.
    edits: Vec<((usize, usize), Vec<String>)>,
    failures: Vec<String>,
}

/// How a page's run ended, if it did not fail.
pub enum Outcome {
    /// All as the page says, or written into it.
    Done,
    /// Nothing could be run here, for this reason.
    Skipped(String),
}

/// Why a block cannot run here.
fn skipped(block: &Block) -> Option<&'static str> {
    let known = |file: &str, word: &str| {
        fs::read_to_string(Path::new(file)).is_ok_and(|text| text.split_whitespace().any(|one| one == word))
    };
    let v1 = fs::read_to_string("/proc/self/mounts")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup")));
    let aufs = known("/proc/filesystems", "aufs");
    if block.is("vm") && !aufs {
        return Some("needs the classroom VM: this kernel has no aufs");
    }
    if block.is("no-aufs") && aufs {
        return Some("needs a kernel without aufs");
    }
    if block.is("v2") && !stage::emulated() {
        return Some("needs a machine with cgroup v2 to itself: CI runs it in the emulated one");
    }
    if block.is("v1") && !v1 {
        return Some("needs a machine with cgroup v1: this one has v2 only");
    }
    None
}

/// The page's console blocks; in the emulated machine, those for cgroup v2 and for aufs.
pub fn blocks(page: &Page) -> Vec<Block> {
    page.blocks()
        .into_iter()
        .filter(|block| block.info.first().is_some_and(|info| info == "console"))
        .filter(|block| !stage::emulated() || block.is("v2") || block.is("vm"))
        .collect()
}

/// Brings what cargo has built in the first store up to date with the repository.
pub fn build() -> Result<()> {
    let mut stage = Stage::to_build()?;
    let terminal = stage.terminal()?;
    let mut seat = Seat { terminal, prompt: Some("$ ".to_string()) };
    // As `cargo run` and `cargo lab` would build them.
    let chapters = Chapter::ALL.map(Chapter::package).join(" --bin ");
    let mut build = format!("cargo build --bin {chapters} && cargo build -p lab --bin lab");
    for package in packages_with_examples()? {
        build += &format!(" && cargo build -p {package} --examples");
    }
    build += "; echo status $?";
    let output = backstage(&mut seat, &build)?;
    ensure!(output.ends_with("status 0\n"), "building the chapters:\n{output}");
    Ok(())
}

/// The chapters that have programs on the way to their own.
fn packages_with_examples() -> Result<Vec<&'static str>> {
    let files = repo::files()?;
    let has_some = |package: &&str| {
        let examples = Path::new("chapters").join(package).join("examples");
        files.iter().any(|file| file.starts_with(&examples))
    };
    Ok(Chapter::ALL.map(Chapter::package).into_iter().filter(has_some).collect())
}

/// Types a command that takes its time.
fn backstage(seat: &mut Seat, command: &str) -> Result<String> {
    seat.terminal.take();
    seat.terminal.press(&format!("{command}\n"))?;
    let seen = seat.terminal.wait(Duration::from_secs(900), |_| false)?;
    ensure!(seen == Seen::Prompt("$ ".to_string()), "{command}: not done:\n{}", seat.terminal.text());
    let text = seat.terminal.take();
    Ok(without_echo(text.strip_suffix("$ ").unwrap_or(&text), command).unwrap_or(&text).to_string())
}

/// What follows the echo of what was typed. A shell that edits its line may have broken it.
fn without_echo<'a>(text: &'a str, typed: &str) -> Option<&'a str> {
    let mut wanted = typed.chars().filter(|c| !c.is_whitespace());
    let mut next = wanted.next();
    for (at, character) in text.char_indices() {
        if next.is_none() && character == '\n' {
            return Some(&text[at + 1..]);
        }
        if character.is_whitespace() {
            continue;
        }
        if Some(character) != next {
            return None;
        }
        next = wanted.next();
    }
    None
}

/// Runs all console blocks of a page in one fresh state.
pub fn run(page: &Page, store: Store, bless: Bless) -> Result<Outcome> {
    let own = own_programs(page, store, bless)?;
    let mut stage = Stage::raise(store)?;
    let mut run = Run {
        page,
        stage: &mut stage,
        seats: [None, None],
        names: Names::default(),
        bless,
        own,
        edits: Vec::new(),
        failures: Vec::new(),
    };
    let mut ran = 0;
    let mut reasons = Vec::new();
    let mut fatal = None;
    for block in blocks(page) {
        if let Some(reason) = skipped(&block) {
            println!("{}: skipped: {reason}", page.place(block.start));
            reasons.push(reason);
            continue;
        }
        ran += 1;
        if let Err(error) = run.block(&block) {
            fatal = Some(error);
            break;
        }
    }
    if fatal.is_none() {
        run.end()?;
    }
    let (edits, mut failures) = (std::mem::take(&mut run.edits), std::mem::take(&mut run.failures));
    failures.extend(fatal.map(|error| format!("{error:#}")));
    drop(run);
    if !stage::emulated() && page.lines.iter().any(|line| line.contains("git apply")) {
        failures.extend(changed(page, store)?); // before the checkout goes with the stage
    }
    drop(stage);

    if !edits.is_empty() {
        let mut page = page.clone();
        for ((from, to), lines) in edits.into_iter().rev() {
            page.lines.splice(from..to, lines);
        }
        page.write()?;
    }
    match (failures.is_empty(), ran, reasons.first()) {
        (false, ..) => Err(anyhow!("{}", failures.join("\n\n"))),
        (true, 0, Some(reason)) => Ok(Outcome::Skipped((*reason).to_string())),
        _ => Ok(Outcome::Done),
    }
}

/// A page's line that says which program is meant from here on.
const SET_RUN: &str = "RUN=target/debug/";
/// The same for the program of someone who has typed along. As long as the other, for the columns of `ps`.
const SET_RUN_OWN: &str = "RUN=target/owned/";

/// With OWN=1 in the environment, makes the programs of a page that a learner has by then: of the chapter's end, or of
/// the stop that an example is for.
fn own_programs(page: &Page, store: Store, bless: Bless) -> Result<bool> {
    if std::env::var_os("OWN").is_none_or(|value| value.is_empty()) || stage::emulated() {
        return Ok(false);
    }
    ensure!(bless == Bless::No, "what a learner's program says is not written into the page");
    let programs: BTreeSet<_> = page.lines.iter().filter_map(|line| line.split_once(SET_RUN)).collect();
    for name in programs.into_iter().filter_map(|(_, rest)| rest.split_whitespace().next()) {
        let files = match name.strip_prefix("examples/") {
            None => {
                let chapter = Chapter::ALL.into_iter().find(|chapter| chapter.package() == name);
                learner::complete(Some(chapter.with_context(|| format!("no chapter makes {name}"))?))?
            }
            Some(example) => {
                let chapter = Chapter::of_page(&page.name).context("only a chapter's page has examples")?;
                let stops = learner::stops(chapter)?;
                let is_it =
                    |stop: &&learner::Stop| stop.program.ends_with(&format!("/examples/{example}.rs"));
                let stop = stops.iter().find(is_it);
                stop.with_context(|| format!("no stop of chapter {} runs {example}", chapter.name()))?
                    .files
                    .clone()
            }
        };
        let _only_one = learner::building();
        let program = learner::built(&files, &learner::place(0)?)?
            .map_err(|errors| anyhow!("{name}, as typed: {errors}"))?;
        let to = store.checkout().join("target/owned").join(name);
        lab::as_owner(&repo::root(), || {
            fs::create_dir_all(to.parent().context("no directory")?)?;
            let _ = fs::remove_file(&to); // or it was not there
            fs::copy(&program, &to).with_context(|| format!("copying {}", program.display()))
        })?;
    }
    Ok(true)
}

/// A line of a learner's program as the repository's would say it: another path, and the names of crates in the log.
fn as_in_the_repository(line: &str, expected: &[String]) -> String {
    let mut line = line.replace("target/owned/", "target/debug/");
    let word = |text: &str| -> String {
        text.chars()
            .rev()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
            .chars()
            .rev()
            .collect()
    };
    // `ch01_run::child` for `byhand::child`: the page knows which chapter's it is.
    for one in expected {
        for (at, _) in one.match_indices("::") {
            let chapter = word(&one[..at]);
            let rest: String =
                one[at + 2..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if Chapter::ALL.into_iter().any(|other| other.package() == chapter) {
                line = line.replace(&format!("byhand::{rest}]"), &format!("{chapter}::{rest}]"));
            }
        }
    }
    line
}

/// What a page that broke the code on purpose has not mended.
fn changed(page: &Page, store: Store) -> Result<Vec<String>> {
    let checkout = store.checkout();
    let mut changed = Vec::new();
    for file in repo::files()?.iter().filter(|file| file.starts_with("chapters")) {
        if fs::read(repo::root().join(file))? != fs::read(checkout.join(file)).unwrap_or_default() {
            changed.push(format!("{}: at its end, {} is not as it was", page.name, file.display()));
        }
    }
    Ok(changed)
}

impl Run<'_> {
    fn block(&mut self, block: &Block) -> Result<()> {
        let before = block.start.checked_sub(2).and_then(|index| self.page.lines.get(index));
        let marks: Vec<_> = before.and_then(|line| Page::mark(line, "varies")).into_iter().collect();
        let how = Alike::new(&marks).with_context(|| self.page.place(block.start))?;
        let number = usize::from(block.is("second"));
        if self.seats[number].is_none() {
            let terminal = self.stage.terminal()?;
            self.seats[number] = Some(Seat { terminal, prompt: Some("$ ".to_string()) });
        }
        let actions = actions(self.page, block);
        for (index, action) in actions.iter().enumerate() {
            let last = index + 1 == actions.len();
            self.act(number, action, last, &how).with_context(|| self.page.place(action.line))?;
        }
        Ok(())
    }

    fn act(&mut self, number: usize, action: &Action, last: bool, how: &Alike) -> Result<()> {
        let Some(seat) = &mut self.seats[number] else { bail!("no terminal") };
        let expected = &self.page.lines[action.output.0..action.output.1];
        let output = match &action.step {
            Step::Pending => {
                if seat.prompt.is_some() {
                    seat.terminal.wait(Duration::ZERO, |_| true)?;
                } else if !last {
                    // A program went on here. The next thing in this block needs its end, or is a key for it.
                    let key = key_of(&self.page.lines[action.output.1]).is_some();
                    settle(seat, self.stage, expected, how, false, key)?;
                } else {
                    settle(seat, self.stage, expected, how, false, true)?;
                }
                let text = seat.terminal.take();
                // What comes while a shell waits is followed by no new prompt.
                let prompt = seat.prompt.clone().unwrap_or_default();
                text.strip_suffix(&prompt).unwrap_or(&text).to_string()
            }
            Step::Type { prompt, lines } => {
                let actual =
                    seat.prompt.clone().context("a program runs in this terminal, and no shell waits")?;
                ensure!(
                    actual.trim_end() == prompt.trim_end(),
                    "the page has the prompt {prompt:?} where the terminal has {actual:?}"
                );
                if lines.iter().all(String::is_empty) {
                    return Ok(()); // only to show that the prompt is back
                }
                let mut output = String::new();
                for (index, typed) in lines.iter().enumerate() {
                    let typed = &if self.own { typed.replace(SET_RUN, SET_RUN_OWN) } else { typed.clone() };
                    ensure!(
                        index == 0 || seat.prompt.as_deref() == Some("> "),
                        "the shell does not wait for more before {typed:?}"
                    );
                    let final_line = index + 1 == lines.len();
                    seat.terminal.press(&format!("{typed}\n"))?;
                    seat.prompt = None;
                    settle(seat, self.stage, expected, how, true, last && final_line)
                        .with_context(|| format!("the command {typed:?}"))?;
                    let text = seat.terminal.take();
                    let text = text.strip_suffix(seat.prompt.as_deref().unwrap_or_default()).unwrap_or(&text);
                    let text = without_echo(text, typed)
                        .with_context(|| format!("typed {typed:?}, and the terminal shows {text:?}"))?;
                    output += text;
                }
                ensure!(
                    seat.prompt.as_deref() != Some("> "),
                    "the shell waits for the rest of a command: {:?}",
                    lines.last()
                );
                output
            }
            Step::Key(key) => {
                let byte = (*key as u8) & 0x1f;
                seat.prompt = None;
                seat.terminal.press(&String::from(char::from(byte)))?;
                settle(seat, self.stage, expected, how, false, last)
                    .with_context(|| format!("the key ^{key}"))?;
                let text = seat.terminal.take();
                let text = text.strip_suffix(seat.prompt.as_deref().unwrap_or_default()).unwrap_or(&text);
                let text = text.strip_prefix(&format!("^{key}")).unwrap_or(text);
                text.strip_prefix('\n').unwrap_or(text).to_string()
            }
        };
        self.compare(action, &output, how)
    }

    fn compare(&mut self, action: &Action, output: &str, how: &Alike) -> Result<()> {
        let expected = &self.page.lines[action.output.0..action.output.1];
        let mut actual = lines_of(output);
        if self.own {
            // The learner's modules are all in one crate; the page has them in the chapters'.
            actual = actual.iter().map(|line| as_in_the_repository(line, expected)).collect();
        }
        for line in &actual {
            let first = actual.first() == Some(line) && line.starts_with("> ");
            let fence = line.trim_start().starts_with("```");
            ensure!(
                prompt_of(line).is_none() && key_of(line).is_none() && !first && !fence,
                "the output has a line that would be read as something typed, or as the block's end: {line:?}"
            );
        }
        let same = alike(how, expected, &actual).is_some_and(|pairs| self.names.agree(&pairs));
        if same && self.bless != Bless::All {
            return Ok(());
        }
        if self.bless == Bless::No {
            let diff = difference(expected, &actual, how);
            let hint = if diff.is_empty() {
                "  the ids or namespace numbers do not agree with those further up in the page\n"
            } else {
                ""
            };
            let typed = match &action.step {
                Step::Pending => String::from("what came meanwhile"),
                _ => self.page.lines[action.line].clone(),
            };
            let place = self.page.place(action.line);
            self.failures.push(format!("{place}: {typed}\n  - the page, + what appeared\n{diff}{hint}"));
            return Ok(());
        }
        let lines = if self.bless == Bless::All {
            actual.clone()
        } else {
            blessed(how, expected, &actual, &self.names)
        };
        // From now on the page says this.
        if let Some(pairs) = alike(how, &lines, &actual) {
            self.names.agree(&pairs);
        }
        if lines != expected {
            println!("{}: blessed", self.page.place(action.line));
            self.edits.push((action.output, lines));
        }
        Ok(())
    }

    /// The page's end: its terminals wait as in the beginning, and nothing is left.
    fn end(&mut self) -> Result<()> {
        let name = &self.page.name;
        for (seat, which) in self.seats.iter_mut().zip(["first", "second"]) {
            let Some(seat) = seat else { continue };
            // A command that seemed to go on may only have been slow to end.
            let limit = if seat.prompt.is_none() { stage::patience(SLOW_END) } else { Duration::ZERO };
            let seen = seat.terminal.wait(limit, |_| limit.is_zero())?;
            let mut text = seat.terminal.take();
            if let (None, Seen::Prompt(prompt)) = (&seat.prompt, seen) {
                text = text.strip_suffix(&prompt).unwrap_or(&text).to_string();
                seat.prompt = Some(prompt);
            }
            if !text.is_empty() {
                self.failures
                    .push(format!("{name}: after its last block the {which} terminal shows {text:?}"));
            }
            if seat.prompt.as_deref() != Some("$ ") {
                let shows =
                    seat.prompt.as_ref().map_or("a program that goes on".to_string(), |p| format!("{p:?}"));
                self.failures.push(format!(
                    "{name}: at its end the {which} terminal must wait with \"$ \", and has {shows}"
                ));
            }
        }
        let left = self.stage.left()?;
        if !left.is_empty() {
            self.failures.push(format!("{name}: it leaves behind:\n  {}", left.join("\n  ")));
        }
        Ok(())
    }
}

/// Waits until a shell waits again; or, where `may_go_on`, until the program has said what it has to say. `typed`:
/// whether a line was typed, which the terminal shows first.
fn settle(
    seat: &mut Seat,
    stage: &Stage,
    expected: &[String],
    how: &Alike,
    typed: bool,
    may_go_on: bool,
) -> Result<()> {
    let waiting = std::time::Instant::now();
    let enough = |terminal: &Terminal| {
        if !may_go_on || terminal.quiet_for() < stage::patience(QUIET) {
            return false;
        }
        let (builds, runs) = stage.is_busy();
        if builds || (runs && terminal.quiet_for() < stage::patience(QUIET_BUT_RUNNING)) {
            return false;
        }
        // On a slow machine the rest may still come, and even what was typed may not be shown yet.
        if !terminal.text().contains('\n') && typed {
            return false;
        }
        let text = lines_of(terminal.text());
        let shown = (0..=text.len()).any(|from| alike(how, expected, &text[from..]).is_some());
        shown || waiting.elapsed() > stage::patience(LATE_OUTPUT)
    };
    match seat.terminal.wait(stage::patience(LONGEST), enough)? {
        Seen::Prompt(prompt) => seat.prompt = Some(prompt),
        Seen::Enough => seat.prompt = None,
        Seen::Late => {
            return Err(late(seat, may_go_on));
        }
    }
    Ok(())
}

fn late(seat: &Seat, may_go_on: bool) -> Error {
    let hint = if may_go_on { "" } else { " (a program may go on only as the last of its block)" };
    let limit = stage::patience(LONGEST).as_secs();
    anyhow!("no prompt within {limit} s{hint}; the terminal shows:\n{}", seat.terminal.text())
}

/// A diff in which what only varies is no difference.
fn difference(expected: &[String], actual: &[String], how: &Alike) -> String {
    let reduce = |lines: &[String]| -> Vec<String> { lines.iter().map(|line| how.reduce(line).0).collect() };
    let (one, other) = (reduce(expected), reduce(actual));
    if one == other {
        return String::new();
    }
    let (one, other): (Vec<_>, Vec<_>) =
        (one.iter().map(String::as_str).collect(), other.iter().map(String::as_str).collect());
    let diff = TextDiff::from_slices(&one, &other);
    let mut text = String::new();
    for change in diff.iter_all_changes() {
        let (sign, line) = match (change.tag(), change.old_index(), change.new_index()) {
            (ChangeTag::Insert, _, Some(index)) => ('+', &actual[index]),
            (ChangeTag::Delete, Some(index), _) => ('-', &expected[index]),
            (_, _, Some(index)) => (' ', &actual[index]),
            _ => continue,
        };
        let _ = writeln!(text, "  {sign} {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(String::from).collect()
    }

    fn same(marks: &str, one: &str, other: &str) -> bool {
        alike(&Alike::new(&[marks]).unwrap(), &lines(one), &lines(other)).is_some()
    }

    #[test]
    fn what_varies_is_alike_and_nothing_else() {
        assert!(same("", "a\nb", "a\nb") && !same("", "a\nb", "a"));
        assert!(
            same("pid", "pid 123", "pid 4567") && !same("pid", "pid 1", "pid 2") && !same("", "123", "124")
        );
        assert!(same("pid /[0-9a-f]{2}:[0-9a-f]{2}/", "72:c4 99", "a1:00 98"));
        assert!(same("/ +/", "a  b", "a b") && !same("/ +/", "ab", "a b"));
        assert!(same("", "id 0123456789ab", "id ab0123456789") && !same("", "id decade", "id facade"));
    }

    #[test]
    fn an_ellipsis_stands_for_any_lines() {
        assert!(same("", "a\n\u{2026}\nd", "a\nb\nc\nd") && same("", "a\n\u{2026}", "a"));
        assert!(!same("", "a\n\u{2026}\nd", "a\nb"));
    }

    #[test]
    fn a_name_stands_for_one_thing() {
        let pair = |one: &str, other: &str| vec![(one.to_string(), other.to_string())];
        let mut names = Names::default();
        assert!(names.agree(&pair("[4026531836]", "[4026532000]")));
        assert!(names.agree(&pair("[4026531836]", "[4026532000]")));
        assert!(!names.agree(&pair("[4026531836]", "[4026532001]")));
        assert!(!names.agree(&pair("[4026531837]", "[4026532000]")));
    }

    #[test]
    fn what_is_typed() {
        let page = Page {
            path: Default::default(),
            name: String::new(),
            lines: lines("```console\nlate\n$ a \\\n> b\nout\n/ # c\n^C\n$\n```"),
        };
        let found = actions(&page, &blocks(&page)[0]);
        let typed = |prompt: &str, lines: &[&str]| Step::Type {
            prompt: prompt.into(),
            lines: lines.iter().map(|line| line.to_string()).collect(),
        };
        let steps: Vec<_> = found.iter().map(|action| action.step.clone()).collect();
        let key = Step::Key('C');
        assert_eq!(
            steps,
            [Step::Pending, typed("$ ", &["a \\", "b"]), typed("/ # ", &["c"]), key, typed("$ ", &[""])]
        );
        assert_eq!((found[0].output, found[1].output), ((1, 2), (4, 5)));
    }

    #[test]
    fn an_echo_may_be_broken() {
        assert_eq!(without_echo("ls -\nl\nout\n", "ls -l"), Some("out\n"));
        assert_eq!(without_echo("other\nout\n", "ls"), None);
    }

    #[test]
    fn blessing_keeps_what_holds() {
        let how = Alike::new(&["pid"]).unwrap();
        let kept =
            blessed(&how, &lines("pid 100\n\u{2026}\nend"), &lines("pid 222\nx\ny\nend"), &Names::default());
        assert_eq!(kept, lines("pid 100\n\u{2026}\nend"));
    }
}
