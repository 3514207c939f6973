//! The page of the book, the table on the screen, and the JSON: one measurement, told three ways.

use std::fmt::Write;
use std::fs;
use std::thread::available_parallelism;

use serde_json::{Value, json};

use crate::bench::contender::{Contender, FLOOR};
use crate::bench::cost::Cost;
use crate::bench::images;
use crate::bench::kept::{self, Pair};
use crate::bench::network;
use crate::bench::plot::{self, Bar};
use crate::bench::scale::{Figure, said};
use crate::bench::statistics::Summary;
use crate::bench::steps::STEPS;
use crate::chapter::Chapter;

/// What was measured; what was not asked for is `None`.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) machine: Vec<(&'static str, String)>,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) missing: Vec<String>,
    /// By the pause between two runs in milliseconds; a summary for each contender.
    pub(crate) times: Vec<(u64, Vec<Summary>)>,
    /// Chapter 7's commands beside others.
    pub(crate) kept: Vec<Pair>,
    pub(crate) steps: Option<Vec<(String, [f64; 8])>>,
    /// How long a network namespace takes to make.
    pub(crate) namespace: f64,
    pub(crate) scale: Option<Vec<Figure>>,
    /// Chapter 8's images.
    pub(crate) images: Option<Vec<Figure>>,
    /// Chapter 9's network.
    pub(crate) network: Option<Vec<Figure>>,
    pub(crate) cost: Option<Cost>,
}

/// The machine that this is.
pub(crate) fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let processors = available_parallelism().map_or(0, |number| number.get());
    let virtual_machine = if cpus.contains(" hypervisor ") { ", virtual" } else { "" };
    let layout = match (
        fs::exists("/sys/fs/cgroup/memory").unwrap_or(false),
        fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false),
    ) {
        (true, _) => "version 1",
        (_, true) => "version 2",
        _ => "not found",
    };
    vec![
        (
            "Processors",
            format!("{processors} × {}{virtual_machine}", model.trim_start_matches([' ', '\t', ':'])),
        ),
        (
            "Kernel",
            format!("Linux {}", read("/proc/sys/kernel/osrelease").trim().split('-').next().unwrap_or("")),
        ),
        ("cgroups", layout.to_string()),
    ]
}

impl Report {
    fn ratio(&self, series: usize, index: usize) -> f64 {
        let summaries = &self.times[series].1;
        summaries[index].median / summaries[0].median
    }

    fn ours(&self) -> Option<usize> {
        self.named(Chapter::LAST_TYPED.package())
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.contenders.iter().position(|one| one.name == name)
    }

    /// What the last chapter aims at, and whether it got there: with the last pause that was measured.
    fn targets(&self) -> Vec<(String, bool)> {
        let (Some(ours), Some((_, times))) = (self.ours(), self.times.last()) else { return Vec::new() };
        let series = self.times.len() - 1;
        let ratio = self.ratio(series, ours);
        let mut targets = vec![(
            format!("{} takes at most 1.10 of the floor: {ratio:.3}", Chapter::LAST_TYPED.package()),
            ratio <= 1.1,
        )];
        for (name, factor) in [("bubblewrap", 1.0), ("crun", 2.0), ("runc", 6.0)] {
            if let Some(other) = self.named(name) {
                let times = times[other].median / times[ours].median;
                let aim = if factor > 1.0 {
                    format!("more than {factor} times as fast as")
                } else {
                    "ahead of".to_string()
                };
                targets.push((format!("It is {aim} {name}: {times:.2} times as fast"), times > factor));
            }
        }
        if let (Some(alike), Some(bubblewrap)) =
            (self.named(Chapter::PivotRoot.package()), self.named("bubblewrap"))
        {
            let times = times[bubblewrap].median / times[alike].median;
            let what = "which like bubblewrap has no overlay, is ahead of it";
            let package = Chapter::PivotRoot.package();
            targets.push((format!("{package}, {what}: {times:.2} times as fast"), times > 1.0));
        }
        targets
    }

    /// For the screen.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (series, (pause, summaries)) in self.times.iter().enumerate() {
            let _ = writeln!(text, "\n{}, {} runs each, in ms:\n", apart(*pause), summaries[0].count);
            let _ = writeln!(text, "{:30} {:>7} {:>15} {:>7}", "", "median", "quartiles", "ratio");
            for (index, one) in self.contenders.iter().enumerate() {
                let Summary { first_quartile, median, third_quartile, .. } = summaries[index];
                let ratio = self.ratio(series, index);
                let _ = writeln!(
                    text,
                    "{:30} {median:7.2} {first_quartile:6.2} – {third_quartile:6.2} {ratio:7.2}  {}",
                    one.name, one.note
                );
            }
        }
        for reason in &self.missing {
            let _ = writeln!(text, "not measured: {reason}");
        }
        for (target, reached) in self.targets() {
            let _ = writeln!(text, "{}: {target}", said(reached));
        }
        text.push_str(&kept::text(&self.kept));
        if let Some(steps) = &self.steps {
            let _ = write!(text, "\nWhere the time goes, in ms as strace sees it:\n\n{:30}", "");
            STEPS.iter().for_each(|step| {
                let _ = write!(text, "{step:>12}");
            });
            for (name, spent) in steps {
                let _ = write!(text, "\n{name:30}");
                spent.iter().for_each(|time| {
                    let _ = write!(text, "{time:12.2}");
                });
            }
            let _ = writeln!(text, "\nA new network namespace alone: {:.2} ms", self.namespace);
        }
        self.scale.iter().flatten().for_each(|figure| text.push_str(&figure.text("floor")));
        for figure in self.images.iter().chain(&self.network).flatten() {
            text.push_str(&figure.text("beside"));
        }
        if let Some(cost) = &self.cost {
            let _ = writeln!(text, "\n{}", cost_line(cost));
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let times = self.times.iter().map(|(pause, summaries)| {
            let each = self.contenders.iter().zip(summaries).map(|(one, summary)| {
                json!({
                    "name": one.name, "note": one.note, "runs": summary.count, "median": summary.median,
                    "first_quartile": summary.first_quartile, "third_quartile": summary.third_quartile,
                    "ratio": summary.median / summaries[0].median,
                })
            });
            json!({ "pause_ms": pause, "times_ms": each.collect::<Vec<_>>() })
        });
        let machine: Vec<_> =
            self.machine.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let steps = self.steps.iter().flatten().map(|(name, spent)| {
            let parts: serde_json::Map<_, _> =
                STEPS.iter().zip(spent).map(|(step, time)| (step.to_string(), json!(time))).collect();
            json!({ "name": name, "ms": parts })
        });
        let scale = self.scale.iter().flatten().map(|figure| figure.json("floor"));
        let images = self.images.iter().flatten().map(|figure| figure.json("beside"));
        let network = self.network.iter().flatten().map(|figure| figure.json("beside"));
        let cost = self.cost.as_ref().map(|cost| {
            json!({
                "crates_last": cost.crates_of_last, "crates_all": cost.crates_of_all,
                "debug_s": cost.debug, "release_s": cost.release,
            })
        });
        let targets =
            self.targets().into_iter().map(|(what, reached)| json!({ "what": what, "reached": reached }));
        json!({
            "machine": machine, "start": times.collect::<Vec<_>>(), "missing": self.missing,
            "targets": targets.collect::<Vec<_>>(), "kept": kept::json(&self.kept), "steps": steps.collect::<Vec<_>>(),
            "network_namespace_ms": self.namespace, "scale": scale.collect::<Vec<_>>(),
            "images": images.collect::<Vec<_>>(), "network": network.collect::<Vec<_>>(), "build": cost,
        })
    }

    /// The plots, by name.
    pub(crate) fn plots(&self) -> Vec<(&'static str, String)> {
        let mut plots = Vec::new();
        if let Some((pause, summaries)) = self.times.last() {
            let bars: Vec<_> = self
                .contenders
                .iter()
                .zip(summaries)
                .map(|(one, summary)| Bar {
                    name: one.name.clone(),
                    parts: vec![(summary.median, colour(one))],
                    text: format!("{:.1} ms", summary.median),
                    whisker: Some((summary.first_quartile, summary.third_quartile)),
                })
                .collect();
            plots.push(("start", plot::bars(&format!("Medians, {}", apart(*pause)), &[], &bars)));
        }
        if let Some(steps) = &self.steps {
            let bars: Vec<_> = steps
                .iter()
                .map(|(name, spent)| Bar {
                    name: name.clone(),
                    parts: spent.iter().enumerate().map(|(index, time)| (*time, index)).collect(),
                    text: format!("{:.1} ms", spent.iter().sum::<f64>()),
                    whisker: None,
                })
                .collect();
            plots.push(("steps", plot::bars("Time of each step", &STEPS, &bars)));
        }
        plots
    }

    /// The page of the book.
    pub(crate) fn page(&self) -> String {
        let mut page = String::from(
            "# Benchmark\n\n<!-- Made by `cargo lab bench --page`; do not edit it by hand. -->\n\n\
             How fast is the container you wrote?\n",
        );
        if let Some(answer) = self.answer() {
            let _ = writeln!(page, "{answer}\n");
        }
        for (name, plot) in self.plots() {
            if name == "start" {
                figure(&mut page, &plot, "Medians; the line is from the first to the third quartile.");
            }
        }
        page.push_str(
            "If that's all you wanted to know, read no further: the rest is for people who doubt it, and for people who want to \
             make it faster.\n\n\
             `cargo lab bench --page` made this page, in one run on one machine; every number and every bar was measured there.\n\
             Your numbers will differ; their ratios will differ less.\n\n",
        );
        page.push_str("| | |\n|---|---|\n");
        for (name, value) in &self.machine {
            let _ = writeln!(page, "| {name} | {value} |");
        }
        page.push_str(
            "\nThe yardstick is `floor`, a C program of about 200 lines \
             ([floor.c](https://github.com/containers-by-hand/containers-by-hand/blob/main/chapters/lab/bench/floor.c)).\n\
             It asks the kernel for five namespaces, a memory cgroup, an overlay, a root, `/proc` and `/dev`, starts \
             the command, and clears up. It does nothing else, so it's about as fast as this can be.\n\
             Whatever a chapter takes beyond it is the price of our own code: of a command line, of errors that say what \
             happened, and of all the care that the floor doesn't take.\n",
        );
        let _ = writeln!(
            page,
            "The second floor takes every step of chapter {} in C too, such as looking for the cgroup tree, locking, and closing \
             descriptors. What's left between that one and `{}` is Rust, its libraries and our style.",
            FLOOR.name(),
            FLOOR.package()
        );
        page.push_str(
            "One of these steps saves time when a lot waits to be written to the disk, and the first floor doesn't have it: a \
             [volatile overlay](ch04-overlay-leftovers.md#nothing-for-the-disk). In return there are two more directories and a file to \
             remove.\n\n\
             ## Starting and ending a container\n\n\
             Each contender runs `/bin/true` in the same image, with the same five namespaces, and with a limit of 100 MB of \
             memory where it can have one.\n\
             All of them run in random order. The kernel takes a network namespace down after the process has ended, \
             which slows down whatever comes next; in a fixed order that would always be the same contender.\n\n",
        );
        for (series, (pause, summaries)) in self.times.iter().enumerate() {
            let _ = writeln!(
                page,
                "### {}\n\nMedians of {} runs, in milliseconds.\n",
                apart(*pause),
                summaries[0].count
            );
            page.push_str("| | median | quartiles | of the floor | |\n|---|--:|:-:|--:|---|\n");
            for (index, one) in self.contenders.iter().enumerate() {
                let Summary { first_quartile, median, third_quartile, .. } = summaries[index];
                let _ = writeln!(
                    page,
                    "| {} | {median:.2} | {first_quartile:.2} – {third_quartile:.2} | {:.2} | {} |",
                    one.name,
                    self.ratio(series, index),
                    one.note
                );
            }
            page.push('\n');
        }
        for reason in &self.missing {
            let _ = writeln!(page, "- Not measured: {}.", reason.trim_end_matches('.'));
        }
        page.push_str("\n### What we aimed at\n\n| | |\n|---|---|\n");
        for (target, reached) in self.targets() {
            let _ = writeln!(page, "| {target} | {} |", said(reached));
        }
        page.push_str(&kept::page(&self.kept));
        self.page_of_steps(&mut page);
        self.page_of_scale(&mut page);
        page.push_str(&images::page(self.images.as_deref().unwrap_or_default()));
        page.push_str(&network::page(self.network.as_deref().unwrap_or_default()));
        if let Some(cost) = &self.cost {
            let _ = writeln!(page, "\n## Building\n\n{}", cost_line(cost));
        }
        page.push_str(
            "\n## Do it yourself\n\n`cargo lab bench` measures your machine in a few minutes; `cargo lab bench --runs 10` in \
             seconds.\nWith `--steps`, `--scale`, `--images`, `--network` and `--build` it does more, and with `--programs DIR` it \
             measures other programs than the repository's own.\nYou'll find the numbers in `target/bench/`, as JSON and as drawings.\n",
        );
        page
    }

    /// What most readers want to know.
    fn answer(&self) -> Option<String> {
        let (pause, summaries) = self.times.last()?;
        let median = |name: &str| {
            let index = self.contenders.iter().position(|one| one.name == name)?;
            Some(summaries[index].median)
        };
        let (ours, floor, runc) = (median(FLOOR.package())?, median("floor")?, median("runc")?);
        Some(format!(
            "It starts, runs a command that does nothing, and is gone after {ours:.1} ms. A C program that does only what can't \
             be left out takes {floor:.1} ms, and runc takes {runc:.1} ms (medians, {}).",
            apart(*pause).to_lowercase()
        ))
    }

    fn page_of_steps(&self, page: &mut String) {
        let Some(steps) = &self.steps else { return };
        page.push_str(
            "\n## Where the time goes\n\n\
             strace(1) shows when each system call begins; the time until the next one counts for the step it belongs to.\n\
             Only what everyone waits for counts: the parent until it waits, then the child until it has ended, then the \
             parent again.\n\
             strace stops the process twice in every call, which makes everything several times slower, and worst where there are \
             many short calls (`start`, `/proc, /dev`).\n\
             So compare programs step by step here, but take the totals from the tables above.\n\n",
        );
        for (name, plot) in self.plots() {
            if name == "steps" {
                figure(page, &plot, "Milliseconds of each step, as strace sees them.");
            }
        }
        let _ = writeln!(page, "| ms | {} |\n|---|{}", STEPS.join(" | "), "--:|".repeat(STEPS.len()));
        for (name, spent) in steps {
            let cells: Vec<_> = spent.iter().map(|time| format!("{time:.2}")).collect();
            let _ = writeln!(page, "| {name} | {} |", cells.join(" | "));
        }
        let _ = writeln!(
            page,
            "\nThe longest single call is clone(2), and most of that is the network namespace: making one and nothing else takes \
             {:.2} ms here, without strace.\n`end` is what the kernel does between the command's exit and the moment when the \
             parent hears about it, and the end of the parent itself.",
            self.namespace
        );
    }

    fn page_of_scale(&self, page: &mut String) {
        let Some(figures) = &self.scale else { return };
        page.push_str(
            "\n## More of everything\n\n\
             Where both are timed, our runs and the floor's take turns, so whatever else the machine does happens to both.\n\
             For a hundred at once the second floor is the yardstick, because it makes and removes the same directories, those of \
             the volatile overlay included. The first floor has fewer, so it's ahead of both.\n",
        );
        let _ = writeln!(
            page,
            "\n| | {} | floor | aim | |\n|---|---|---|---|---|",
            Chapter::LAST_TYPED.package()
        );
        figures.iter().for_each(|figure| page.push_str(&figure.row()));
    }
}

fn figure(page: &mut String, plot: &str, caption: &str) {
    let _ = writeln!(page, "<figure>\n{plot}<figcaption>{caption}</figcaption>\n</figure>\n");
}

fn apart(pause: u64) -> String {
    if pause == 0 { "Back to back".to_string() } else { format!("{pause} ms apart") }
}

fn colour(one: &Contender) -> usize {
    match one.chapter {
        Some(_) => 0,
        None if one.name.starts_with("floor") => 5,
        None => 3,
    }
}

fn cost_line(cost: &Cost) -> String {
    format!(
        "Chapter {0} and everything it needs are {1} crates, ours included; with the lab, the book and the tests there are {2}.\n\
         Built from nothing, without downloading, chapter {0} takes {3:.0} s, and {4:.0} s with `--release`.",
        Chapter::LAST_TYPED.name(),
        cost.crates_of_last,
        cost.crates_of_all,
        cost.debug,
        cost.release
    )
}
