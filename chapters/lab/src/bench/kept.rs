//! Chapter 7's commands, each beside what it is compared with: `run -d`, and `exec` into a container that stays.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::contender::{self, Contender, TRUE};
use crate::bench::measure;
use crate::bench::place::Place;
use crate::bench::programs::Programs;
use crate::bench::statistics::median;
use crate::chapter::Chapter;

/// What a container does that stays.
const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

/// One of ours and another, in milliseconds: medians.
#[derive(Debug)]
pub(crate) struct Pair {
    ours: (String, f64),
    other: (String, f64),
    /// What ours is to take at most, as a part of the other.
    aim: f64,
}

impl Pair {
    /// Ours and the other take turns, so that what the machine does meanwhile happens to both. `between` comes after each.
    fn measured(
        [ours, other]: [&Contender; 2],
        aim: f64,
        runs: usize,
        between: impl Fn() -> Result<()>,
    ) -> Result<Pair> {
        let mut times = [Vec::new(), Vec::new()];
        for number in 0..runs {
            for (times, who) in times.iter_mut().zip([ours, other]) {
                times.push(measure::time(&mut who.command(number))?);
                between()?;
            }
        }
        let [first, second] = [median(&times[0]), median(&times[1])];
        Ok(Pair { ours: (ours.name.clone(), first), other: (other.name.clone(), second), aim })
    }

    fn ratio(&self) -> f64 {
        self.ours.1 / self.other.1
    }
}

/// All pairs for which the programs are here. What cannot be measured is told in `missing`.
pub(crate) fn all(
    place: &Place,
    programs: &Programs,
    runs: usize,
    missing: &mut Vec<String>,
) -> Result<Vec<Pair>> {
    let Some(program) = programs.of(Chapter::Lifecycle) else { return Ok(Vec::new()) };
    let package = Chapter::Lifecycle.package();
    let mut pairs = Vec::new();
    if let Some(before) = programs.of(Chapter::Init) {
        let ours =
            contender::chapter(Chapter::Lifecycle, &format!("{package} run -d"), program, place, &["-d"]);
        let name = format!("{} run", Chapter::Init.package());
        let other = contender::chapter(Chapter::Init, &name, before, place, &[]);
        pairs.push(Pair::measured([&ours, &other], 1.3, runs, || all_gone(place))?);
    }
    let container = Kept::ours(place, program.as_os_str().into())?;
    let words = [program.as_os_str(), "exec".as_ref(), container.id.as_ref(), TRUE.as_ref()];
    let ours = Contender::new(&format!("{package} exec"), place, words);
    match contender::in_path("nsenter") {
        Some(nsenter) => {
            let pid = container.pid()?.to_string();
            let options = ["--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--", TRUE];
            let words = [nsenter.into()].into_iter().chain(options.map(OsString::from));
            let other = Contender::new("nsenter", place, words);
            pairs.push(Pair::measured([&ours, &other], 1.3, runs, || Ok(()))?);
        }
        None => missing.push("nsenter: not found in PATH".to_string()),
    }
    if let Some(runc) = contender::in_path("runc") {
        match Kept::runc(place, runc.into()) {
            Ok(its) => {
                let words =
                    its.words.iter().cloned().chain(["exec".into(), its.id.clone().into(), TRUE.into()]);
                let other = Contender::new("runc exec", place, words);
                pairs.push(Pair::measured([&ours, &other], 0.2, runs, || Ok(()))?);
            }
            Err(error) => missing.push(format!("runc exec: {error:#}")),
        }
    }
    Ok(pairs)
}

/// Waits until no container is there any more: what ends in the background would slow down the next one.
fn all_gone(place: &Place) -> Result<()> {
    let begin = Instant::now();
    let is_there = |directory: &str| -> Result<bool> {
        // `.unfinished` stays, and has those that are on their way in or out.
        let records = place.state().join("records");
        let entries = match fs::read_dir(records.join(directory)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries.context("looking for containers")?,
        };
        Ok(entries.flatten().any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")))
    };
    while is_there("")? || is_there(".unfinished")? {
        ensure!(begin.elapsed() < Duration::from_secs(30), "a container with --rm has not gone away");
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A container that stays until this is dropped.
struct Kept {
    id: String,
    /// The runtime, and its options.
    words: Vec<OsString>,
    /// How it is removed.
    remove: &'static [&'static str],
    state: PathBuf,
}

impl Kept {
    fn ours(place: &Place, program: OsString) -> Result<Kept> {
        let mut kept =
            Kept { id: String::new(), words: vec![program], remove: &["rm", "-f"], state: place.state() };
        let words = ["run", "-d", "-m", "100m"].into_iter().chain(SLEEP);
        kept.id = kept.said(words.map(str::to_string))?.trim_end().to_string();
        Ok(kept)
    }

    fn runc(place: &Place, program: OsString) -> Result<Kept> {
        let bundle = contender::bundle(place, "runc-exec", &SLEEP)?.display().to_string();
        let words = vec![program, "--root".into(), place.path("runc-state").into()];
        let kept =
            Kept { id: "bench-kept".to_string(), words, remove: &["delete", "-f"], state: place.state() };
        let words = ["run", "-d", "-b", &bundle, &kept.id].map(str::to_string);
        // What it starts keeps what it has open: no pipe, whose end would never come.
        let status = kept.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(status.context("running runc")?.success(), "runc could not start a container");
        Ok(kept)
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(words).env("BYHAND_ROOT", &self.state).stdin(Stdio::null());
        command
    }

    /// What the runtime says to these words.
    fn said(&self, words: impl IntoIterator<Item = String>) -> Result<String> {
        let mut command = self.command(&words.into_iter().collect::<Vec<_>>());
        let output = command.output().with_context(|| format!("running {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The number of its process 1.
    fn pid(&self) -> Result<u64> {
        let all: Value = serde_json::from_str(&self.said(["inspect".to_string(), self.id.clone()])?)?;
        all[0]["State"]["Pid"].as_u64().context("inspect tells no State.Pid")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let words: Vec<_> =
            self.remove.iter().copied().chain([self.id.as_str()]).map(str::to_string).collect();
        // If that fails, its directory can't be removed either, and that is told.
        let _ = self.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn cells(pair: &Pair) -> [String; 3] {
    let reached = if pair.ratio() <= pair.aim { "reached" } else { "not reached" };
    let of = |(name, median): &(String, f64)| format!("{name}: {median:.2}");
    [of(&pair.ours), of(&pair.other), format!("{:.2} of it; aim {:.2}: {reached}", pair.ratio(), pair.aim)]
}

/// For the screen.
pub(crate) fn text(pairs: &[Pair]) -> String {
    let mut text = String::new();
    if !pairs.is_empty() {
        let _ = writeln!(text, "\nContainers that stay, in turn, medians in ms:\n");
    }
    for pair in pairs {
        let [ours, other, ratio] = cells(pair);
        let _ = writeln!(text, "{ours:30} {other:24} {ratio}");
    }
    text
}

/// For programs.
pub(crate) fn json(pairs: &[Pair]) -> Value {
    let each = pairs.iter().map(|pair| {
        json!({
            "ours": pair.ours.0, "ours_ms": pair.ours.1, "other": pair.other.0, "other_ms": pair.other.1,
            "ratio": pair.ratio(), "aim": pair.aim, "reached": pair.ratio() <= pair.aim,
        })
    });
    Value::Array(each.collect())
}

/// For the page of the book.
pub(crate) fn page(pairs: &[Pair]) -> String {
    let mut page = String::new();
    if pairs.is_empty() {
        return page;
    }
    page.push_str(
        "\n## Containers that stay\n\n\
         `run -d` counts until it returns, when the command runs, and chapter 6's `run` until the command has ended.\n\
         `exec` and the others run `/bin/true` in a container that's there already; `nsenter` enters the same namespaces, \
         and nothing else.\n\
         Each pair takes turns. Medians, in milliseconds.\n\n\
         | | beside | |\n|---|---|---|\n",
    );
    for pair in pairs {
        let [ours, other, ratio] = cells(pair);
        let _ = writeln!(page, "| {ours} | {other} | {ratio} |");
    }
    page
}
