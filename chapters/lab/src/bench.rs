//! `cargo lab bench`: how fast a container starts and ends, and where the time goes.
//!
//! Read in this order: `place` is where it happens, `contender` who takes part, `measure` takes the times,
//! `statistics` sums them up, `page` tells them; `kept`, `steps`, `scale`, `images`, `network` and `cost` ask further questions.

mod contender;
mod cost;
mod images;
mod kept;
mod measure;
mod network;
mod page;
mod place;
mod plot;
mod programs;
mod scale;
pub(crate) mod statistics;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use page::Report;
use place::Place;
use programs::Programs;

use crate::chapter::{Chapter, repository};
use crate::grader::caller;
use crate::machine;
use crate::machine::process::require_root;
use crate::see::tell;

/// What `bench` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each contender runs
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Where the time goes, step by step (needs strace)
    #[arg(long)]
    steps: bool,
    /// A thousand runs, a hundred at once, large images
    #[arg(long)]
    scale: bool,
    /// Images of chapter 8: a large one from a registry, and one of many layers
    #[arg(long)]
    images: bool,
    /// Chapter 9's network: what it adds to a start, and how much goes through it (needs iperf3)
    #[arg(long)]
    network: bool,
    /// What building from nothing takes
    #[arg(long)]
    build: bool,
    /// Do all of it, and write the book's page; what building takes is kept from the last --build
    #[arg(long)]
    page: bool,
    /// Measure the chapters' programs in this directory [default: build them]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where the results go [default: target/bench]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// The pauses between two runs that are measured, in milliseconds. Back to back, every run meets the kernel still
/// clearing up after the one before it.
const PAUSES: [u64; 2] = [0, 30];

/// The file with all numbers.
const RESULTS: &str = "bench.json";

/// The whole of `cargo lab bench`.
pub(crate) fn bench(arguments: &Arguments) -> Result<ExitCode> {
    require_root()?;
    let programs = match &arguments.programs {
        Some(directory) => Programs::in_directory(directory)?,
        None => Programs::build()?,
    };
    measure::catch_interrupts()?;
    machine::network::alone()?; // chapter 9's containers make a bridge and rules, which would stay on the machine
    let place = Place::make()?;
    let programs = programs.copied(&place)?;
    let with_image = |chapter: &Chapter| chapter.includes(Chapter::PivotRoot) && *chapter != Chapter::Aufs;
    let maker = Chapter::ALL.into_iter().rev().filter(with_image);
    let maker = maker.filter_map(|chapter| Some((chapter, programs.of(chapter)?))).next();
    let (chapter, program) = maker.context("no chapter with an image is built")?;
    place.make_image(&mut contender::chapter(chapter, "image", program, &place, &[]).command(0))?;

    let (contenders, missing) = contender::all(&place, &programs)?;
    let runs = arguments.runs as usize;
    let mut report = Report { machine: page::machine(), contenders, missing, ..Report::default() };
    report.machine.push(("Built by", format!("`{}`", programs.how)));
    for pause in PAUSES {
        eprintln!("Measuring {} contenders, {runs} runs each, {pause} ms apart", report.contenders.len());
        let times = measure::all(&report.contenders, runs, Duration::from_millis(pause))?;
        let summaries = times.iter().filter_map(|times| statistics::summary(times)).collect();
        report.times.push((pause, summaries));
    }
    report.kept = kept::all(&place, &programs, runs, &mut report.missing)?;
    if arguments.steps || arguments.page {
        eprintln!("Tracing");
        report.namespace = steps::network_namespace(runs.min(50))?;
        let traced = report.contenders.iter().filter(|one| {
            one.name.starts_with("floor") || one.chapter.is_some_and(|chapter| one.name == chapter.package())
        });
        let steps = traced.map(|one| Ok((one.name.clone(), steps::of(one, &place, runs.min(20))?)));
        report.steps = Some(steps.collect::<Result<_>>()?);
    }
    if arguments.scale || arguments.page {
        eprintln!("Scaling");
        report.scale = Some(scale::all(&place, &programs, runs)?);
    }
    if arguments.images || arguments.page {
        eprintln!("Fetching images");
        report.images = Some(images::all(&place, &programs, runs, &mut report.missing)?);
    }
    if arguments.network || arguments.page {
        eprintln!("Sending");
        report.network = Some(network::all(&place, &programs, runs, &mut report.missing)?);
    }
    let output = arguments.output.clone().unwrap_or_else(|| repository().join("target/bench"));
    report.cost = if arguments.build {
        eprintln!("Building from nothing");
        Some(cost::measure(&place)?)
    } else {
        cost::last(&output.join(RESULTS))
    };
    caller::as_user_for(&output, || write_all(&report, &output))?;
    tell(&format!("{}\nWritten to {}\n", report.text(), output.display()))?;
    if arguments.page {
        let page = repository().join("book/src/benchmark.md");
        caller::as_user_for(&page, || write(&page, &report.page()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_all(report: &Report, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    write(&directory.join(RESULTS), &format!("{:#}\n", report.json()))?;
    for (name, svg) in report.plots() {
        write(&directory.join(format!("{name}.svg")), &plot::standalone(&svg))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
