//! What happens when there is more of everything: runs, containers at once, files, dead neighbours.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::contender::{self, Contender, FLOOR};
use crate::bench::measure::{self, go_on, milliseconds};
use crate::bench::place::Place;
use crate::bench::programs::Programs;
use crate::bench::statistics::median;
use crate::chapter::Chapter;

/// One question, its answer, and whether that is what it should be.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) ours: String,
    /// The floor's answer, or who else was asked.
    pub(crate) floors: String,
    /// What was aimed at, and whether it was reached.
    pub(crate) target: String,
    pub(crate) reached: Option<bool>,
}

impl Figure {
    /// For the screen: `beside` is what the others are called.
    pub(crate) fn text(&self, beside: &str) -> String {
        let mut text = format!("\n{}: {}\n", self.what, self.ours);
        if !self.floors.is_empty() {
            text += &format!("    {beside}: {}\n", self.floors);
        }
        if let Some(reached) = self.reached {
            text += &format!("    {}: {}\n", said(reached), self.target);
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self, beside: &str) -> Value {
        let Figure { what, ours, floors, target, reached } = self;
        json!({ "what": what, "ours": ours, beside: floors, "target": target, "reached": reached })
    }

    /// For the page of the book.
    pub(crate) fn row(&self) -> String {
        let Figure { what, ours, floors, target, reached } = self;
        format!("| {what} | {ours} | {floors} | {target} | {} |\n", reached.map_or("", said))
    }
}

/// Asks all of them. `runs` is for those that are medians.
pub(crate) fn all(place: &Place, programs: &Programs, runs: usize) -> Result<Vec<Figure>> {
    let name = Chapter::LAST_TYPED.package();
    let program = programs.of(Chapter::LAST_TYPED).with_context(|| format!("{name} is not built"))?;
    let ours = contender::chapter(Chapter::LAST_TYPED, name, program, place, &[]);
    let floor = contender::floor("floor", place, &place.image(), &[]);
    let mut figures = Vec::new();
    for count in [1, 10, 100, 1000].into_iter().filter(|count| *count <= runs * 10) {
        figures.push(one_after_another(&ours, &floor, count)?);
    }
    let every_step = contender::floor("every step", place, &place.image(), &["-w".as_ref()]);
    figures.push(at_once(&ours, &floor, &every_step, 100.min(runs * 5))?);
    figures.push(large_image(place, program, runs)?);
    figures.push(large_layer(place, program, runs.min(5))?);
    figures.push(waiting_parent(place, program)?);
    figures.push(dead_workspaces(place, &ours, &floor, runs)?);
    if let (true, Some(script)) = (Chapter::LAST_TYPED.includes(Chapter::Init), contender::in_path("script"))
    {
        figures.push(through_a_terminal(place, program, &script, 1000.min(runs * 10))?);
    }
    Ok(figures)
}

pub(crate) fn said(reached: bool) -> &'static str {
    if reached { "reached" } else { "not reached" }
}

pub(crate) fn ratio(above: f64, below: f64) -> f64 {
    if below > 0.0 { above / below } else { 0.0 }
}

/// Whether the last runs take as long as the first ones. Ours and the floor's take turns, so that what the machine does
/// meanwhile happens to both.
fn one_after_another(ours: &Contender, floor: &Contender, count: usize) -> Result<Figure> {
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..count {
        for (times, who) in times.iter_mut().zip([ours, floor]) {
            times.push(measure::time(&mut who.command(number))?);
        }
    }
    let tenth = count.div_ceil(10);
    let drift = |times: &[f64]| ratio(median(&times[count - tenth..]), median(&times[..tenth]));
    let tell = |times: &[f64]| match count {
        1..100 => format!("{:.1} ms each", median(times)),
        _ => format!("{:.1} ms each; last tenth {:.2} of the first", median(times), drift(times)),
    };
    Ok(Figure {
        what: format!("{count} one after another"),
        ours: tell(&times[0]),
        floors: tell(&times[1]),
        target: if count < 100 { "" } else { "at most 1.10, times the floor's if that grows" }.to_string(),
        reached: (count >= 100).then_some(drift(&times[0]) <= 1.1 * drift(&times[1]).max(1.0)),
    })
}

/// All started before the first is waited for. Ours and the floors take turns here, too. It is the second floor that
/// has to be reached: the first has two directories and a file fewer to make and remove, those of the volatile overlay.
fn at_once(ours: &Contender, floor: &Contender, every_step: &Contender, count: usize) -> Result<Figure> {
    const ROUNDS: usize = 9;
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (rates, who) in rates.iter_mut().zip([ours, floor, every_step]) {
            go_on()?;
            let began = Instant::now();
            let children: Vec<Child> =
                (0..count).map(|number| who.command(number).spawn()).collect::<Result<_, _>>()?;
            for mut child in children {
                ensure!(child.wait()?.success(), "one of {count} at once failed");
            }
            rates.push(count as f64 / began.elapsed().as_secs_f64());
        }
    }
    // Round by round, because they differ more from each other than the contenders do.
    let of_second: Vec<f64> =
        rates[0].iter().zip(&rates[2]).map(|(ours, second)| ratio(*ours, *second)).collect();
    let of_second = median(&of_second);
    let [our_rate, floor_rate, every_step_rate] = rates.map(|rates| median(&rates));
    Ok(Figure {
        what: format!("{count} at once"),
        ours: format!("{our_rate:.0} a second, {of_second:.2} of the second floor's in the same round"),
        floors: format!(
            "{floor_rate:.0} a second; with every step of chapter {}, {every_step_rate:.0}",
            FLOOR.name()
        ),
        target: "at least 0.90".to_string(),
        reached: Some(of_second >= 0.9),
    })
}

/// What comes out of a terminal of the container's own, into a pipe. script(1), which makes a terminal and copies, takes
/// turns with us. The memory is that of all our processes, looked at ten times on the way.
fn through_a_terminal(place: &Place, program: &Path, script: &Path, megabytes: usize) -> Result<Figure> {
    let words = format!("busybox dd if=/dev/zero bs=1000000 count={megabytes} 2> /dev/null");
    let (mut ratios, mut grown) = (Vec::new(), 0);
    for _ in 0..3 {
        let mut run = Command::new(program);
        run.env("BYHAND_ROOT", place.state()).args(["run", "-t", "/bin/sh", "-c", &words]);
        let (ours, more) = carried(&mut run, megabytes)?;
        let (theirs, _) = carried(Command::new(script).args(["-qec", &words, "/dev/null"]), megabytes)?;
        ratios.push(ratio(ours, theirs));
        grown = grown.max(more);
    }
    let of_script = median(&ratios);
    Ok(Figure {
        what: format!("{megabytes} MB through a terminal"),
        ours: format!("{of_script:.2} of what script takes; {grown} KiB more memory at the end"),
        floors: "has none".to_string(),
        target: "at most 1.30, and 256 KiB".to_string(),
        reached: Some(of_script <= 1.3 && grown <= 256),
    })
}

/// How long it takes to print all of that, in milliseconds, and by how many KiB its processes grow meanwhile.
fn carried(command: &mut Command, megabytes: usize) -> Result<(f64, u64)> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().context("no stdout")?;
    let (mut bytes, mut tenths, mut sizes) = (vec![0; 65536], 0, Vec::new());
    let mut total = 0;
    loop {
        let read = std::io::Read::read(&mut output, &mut bytes)?;
        if read == 0 {
            break;
        }
        total += read;
        if total / (megabytes * 100_000) > tenths {
            tenths = total / (megabytes * 100_000);
            sizes.push(resident(child.id()));
            go_on()?;
        }
    }
    ensure!(child.wait()?.success() && total >= megabytes * 1_000_000, "{command:?} printed {total} bytes");
    let grown = sizes.iter().max().zip(sizes.first()).map_or(0, |(most, first)| most - first);
    Ok((milliseconds(began.elapsed()), grown))
}

/// The memory of a process and its children, in KiB; of one that has ended, none.
fn resident(pid: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = children.split_whitespace().map(String::from).chain([pid.to_string()]);
    let size = |pid: String| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    all.filter_map(size).sum()
}

/// A copy of the image's busybox, and `count` files.
fn make_image(place: &Place, name: &str, count: usize) -> Result<std::path::PathBuf> {
    let image = place.path(name);
    fs::create_dir_all(image.join("bin"))?;
    for directory in ["proc", "dev", "data"] {
        fs::create_dir(image.join(directory))?;
    }
    fs::copy(place.image().join("bin/busybox"), image.join("bin/true")).context("copying busybox")?;
    make_files(&image.join("data"), count)?;
    Ok(image)
}

fn make_files(directory: &Path, count: usize) -> Result<()> {
    for number in 0..count {
        go_on()?;
        let part = directory.join((number / 1000).to_string());
        if number % 1000 == 0 {
            fs::create_dir(&part).with_context(|| format!("making {}", part.display()))?;
        }
        File::create(part.join(number.to_string())).context("making a file")?;
    }
    Ok(())
}

fn large_image(place: &Place, program: &Path, runs: usize) -> Result<Figure> {
    let (small, large) = (make_image(place, "small", 10)?, make_image(place, "large", 50_000)?);
    let mut contenders = Vec::new();
    for image in [&small, &large] {
        let root = image.to_str().context("the path is no text")?;
        contenders.push(contender::chapter(Chapter::LAST_TYPED, "ours", program, place, &["--rootfs", root]));
        contenders.push(contender::floor("floor", place, image, &[]));
    }
    let times = measure::all(&contenders, runs, Duration::from_millis(5))?;
    let medians: Vec<f64> = times.iter().map(|times| median(times)).collect();
    let ours = ratio(medians[2], medians[0]);
    fs::remove_dir_all(large)?;
    Ok(Figure {
        what: "an image of 50,000 files and not 10".to_string(),
        ours: format!("{:.1} ms, {ours:.2} of the small one's", medians[2]),
        floors: format!("{:.1} ms, {:.2}", medians[3], ratio(medians[3], medians[1])),
        target: "at most 1.10".to_string(),
        reached: Some(ours <= 1.1),
    })
}

/// What it takes to remove 10,000 files that the container wrote: the run's end, less that of one that wrote none.
fn large_layer(place: &Place, program: &Path, runs: usize) -> Result<Figure> {
    const SCRIPT: &str =
        "mkdir /d; cd /d; i=0; while [ $i -lt 10000 ]; do : >$i; i=$((i+1)); done; echo; read x";
    let image = place.image();
    let time_of_end = |mut command: Command| -> Result<f64> {
        go_on()?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // The first byte comes when all are written; closing its stdin lets it end.
        let mut byte = [0];
        std::io::Read::read(child.stdout.as_mut().context("no stdout")?, &mut byte)?;
        let began = Instant::now();
        drop(child.stdin.take());
        child.wait()?;
        Ok(milliseconds(began.elapsed()))
    };
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let mut command = Command::new(program);
        command.env("BYHAND_ROOT", place.state()).args(["run", "-i", "-m", "100m", "/bin/sh", "-c", SCRIPT]);
        ours.push(time_of_end(command)?);
        let mut command = Command::new(place.floor());
        command.arg(&image).arg(place.floor_state()).args(["/bin/sh", "-c", SCRIPT]);
        floors.push(time_of_end(command)?);
    }
    let (ours, floors) = (median(&ours), median(&floors));
    Ok(Figure {
        what: "ending with 10,000 files written".to_string(),
        ours: format!("{ours:.0} ms"),
        floors: format!("{floors:.0} ms"),
        target: "at most 1.10 of the floor's".to_string(),
        reached: Some(ours <= 1.1 * floors),
    })
}

/// The most memory that a parent ever had, as it waits.
fn waiting_parent(place: &Place, program: &Path) -> Result<Figure> {
    let peak = |command: &mut Command| -> Result<u64> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut byte = [0];
        std::io::Read::read(child.stdout.as_mut().context("no stdout")?, &mut byte)?;
        let path = format!("/proc/{}/status", child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        drop(child.stdin.take());
        child.wait()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let script = ["/bin/sh", "-c", "echo; read x"];
    let mut run = Command::new(program);
    let ours = peak(run.env("BYHAND_ROOT", place.state()).args(["run", "-i", "-m", "100m"]).args(script))?;
    let floors = peak(Command::new(place.floor()).arg(place.image()).arg(place.floor_state()).args(script))?;
    Ok(Figure {
        what: "memory of a waiting run, at its peak".to_string(),
        ours: format!("{ours} KiB"),
        floors: format!("{floors} KiB"),
        target: "below 3,000 KiB".to_string(),
        reached: Some(ours < 3000),
    })
}

/// The first run after many were killed clears up, and the ones after that are as fast as ever; and so are those
/// beside many that live.
fn dead_workspaces(place: &Place, ours: &Contender, floor: &Contender, runs: usize) -> Result<Figure> {
    const MANY: usize = 300;
    let of_floor = || -> Result<f64> {
        let one = |n| Ok(ratio(measure::time(&mut ours.command(n))?, measure::time(&mut floor.command(n))?));
        Ok(median(&(0..runs).map(one).collect::<Result<Vec<_>>>()?))
    };
    let before = of_floor()?;
    for number in 0..MANY {
        let dead = place.state().join(format!("containers/dead{number:08}"));
        for part in ["upper", "work/work/incompat/volatile", "merged"] {
            fs::create_dir_all(dead.join(part))?;
        }
        File::create(dead.join("work/work/incompat/volatile/dirty"))?;
    }
    let first = measure::time(&mut ours.command(0))?;
    let drift = ratio(of_floor()?, before);
    Ok(Figure {
        what: format!("after {MANY} killed runs"),
        ours: format!(
            "the first run clears up in {first:.0} ms; then {drift:.2} of before, the floor taken as 1"
        ),
        floors: "clears nothing up".to_string(),
        target: "at most 1.10".to_string(),
        reached: Some(drift <= 1.1),
    })
}
