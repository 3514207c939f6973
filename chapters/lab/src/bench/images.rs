//! Chapter 8's images, beside the tools of others: one comes from a registry and is unpacked; and what many layers cost.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::contender::{TRUE, apart, in_path, podman};
use crate::bench::measure::{self, go_on};
use crate::bench::place::Place;
use crate::bench::programs::Programs;
use crate::bench::scale::{Figure, ratio};
use crate::bench::statistics::median;
use crate::chapter::Chapter;
use crate::machine::network;
use crate::trial::oci::{Entry, Image, busybox, tar_of};
use crate::trial::registry::Registry;

/// The layers of the large image.
const LAYERS: usize = 12;

/// What an image's way into the store may take, in KiB.
const MEMORY: u64 = 64 << 10;

/// Those of who else fetches it, which are not to include a network: the registry is in this one.
const NAMESPACES: &str = "-mpf";

/// Who fetches the large image: its name, and the command lines that do it, one after another.
struct Fetcher {
    name: &'static str,
    commands: Vec<Vec<OsString>>,
    /// All that they write, which is there only meanwhile.
    state: PathBuf,
}

impl Fetcher {
    fn new(name: &'static str, place: &Place, commands: impl Fn(&Path) -> Vec<Vec<OsString>>) -> Fetcher {
        let state = place.path("fetched");
        Fetcher { name, commands: commands(&state), state }
    }

    fn commands(&self) -> impl Iterator<Item = Command> {
        self.commands.iter().map(|words| {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).env("BYHAND_ROOT", &self.state).env("TMPDIR", &self.state);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        })
    }

    /// How many seconds all of it takes, from nothing. Nothing stays.
    fn time(&self) -> Result<f64> {
        fs::create_dir(&self.state).with_context(|| format!("making {}", self.state.display()))?;
        measure::time(&mut Command::new("sync"))?; // what others wrote is not to be waited for
        let began = Instant::now();
        let fetched = self.commands().try_for_each(|command| self.carry_out(command));
        let took = began.elapsed().as_secs_f64();
        fs::remove_dir_all(&self.state).with_context(|| format!("removing {}", self.state.display()))?;
        fetched.map(|()| took)
    }

    fn carry_out(&self, mut command: Command) -> Result<()> {
        go_on()?;
        let output =
            command.stderr(Stdio::piped()).output().with_context(|| format!("running {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it said nothing").trim();
        ensure!(output.status.success(), "{} could not run ({}): {last}", self.name, output.status);
        Ok(())
    }
}

/// All of it, if chapter 8 is here. What cannot be measured is told in `missing`. The registry, and who asks it, are in a
/// network of their own.
pub(crate) fn all(
    place: &Place,
    programs: &Programs,
    runs: usize,
    missing: &mut Vec<String>,
) -> Result<Vec<Figure>> {
    let Some(program) = programs.of(Chapter::Images) else {
        missing.push(format!("images: {} is not built", Chapter::Images.package()));
        return Ok(Vec::new());
    };
    network::in_one_alone(|| {
        let mut figures = from_registry(place, program, runs, missing)?;
        figures.push(many_layers(place, program, runs)?);
        Ok(figures)
    })
}

fn from_registry(
    place: &Place,
    program: &Path,
    runs: usize,
    missing: &mut Vec<String>,
) -> Result<Vec<Figure>> {
    let megabytes = 300.min(runs * 10);
    let registry = Registry::beside(0)?;
    let name = registry.put(&large_image(megabytes)?, "bench/large:1");
    // The first time of each is not counted. Who can't do it at all is left out; ours can.
    let mut able = Vec::new();
    for one in fetchers(place, program, &name, missing) {
        match one.time() {
            Ok(_) => able.push(one),
            Err(error) if able.is_empty() => return Err(error),
            Err(error) => {
                go_on()?;
                missing.push(format!("{error:#}"));
            }
        }
    }
    let mut times = vec![Vec::new(); able.len()];
    for _ in 0..runs.min(5) {
        for (times, one) in times.iter_mut().zip(&able) {
            times.push(one.time()?);
        }
    }
    let mut told = able.iter().zip(&times).map(|(one, times)| format!("{} {:.2} s", one.name, median(times)));
    let ours = told.next().unwrap_or_default();
    let fetched = Figure {
        what: format!("an image of {megabytes} MB in {LAYERS} layers, fetched and unpacked"),
        ours,
        floors: told.collect::<Vec<_>>().join(", "),
        target: String::new(),
        reached: None,
    };
    let (memory, asked) = memory_and_questions(&able[0], &registry)?;
    Ok(vec![
        fetched,
        Figure {
            what: "memory meanwhile, at its peak".to_string(),
            ours: format!("{memory} KiB"),
            floors: String::new(),
            target: format!("at most {MEMORY} KiB"),
            reached: Some(memory <= MEMORY),
        },
        Figure {
            what: "the same image fetched again".to_string(),
            ours: format!("{asked} blobs asked for"),
            floors: String::new(),
            target: "none".to_string(),
            reached: Some(asked == 0),
        },
    ])
}

/// Files of all sizes, which can be compressed to about two thirds.
fn large_image(megabytes: usize) -> Result<Image> {
    // One stock of bytes, from which each file takes its part elsewhere: made once, since this is slow.
    let mut state = 1_u64;
    let stock: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b'0' + (state >> 59) as u8
    })
    .take(2 << 20)
    .collect();
    let mut at = 0;
    let mut layer = |number: usize| -> Result<Vec<u8>> {
        let mut entries = Vec::new();
        let mut left = megabytes * 1_000_000 / LAYERS;
        for size in [200, 3_000, 20_000, 90_000, 1_000_000].into_iter().cycle() {
            if left == 0 {
                break;
            }
            let size = size.min(left);
            at = (at + 65_537) % (stock.len() - size);
            entries.push(Entry::file(&format!("data/{number}/{left}"), &stock[at..at + size]));
            left -= size;
        }
        tar_of(&entries)
    };
    Image::of_tars((0..LAYERS).map(&mut layer).collect::<Result<_>>()?).zipped()
}

/// All who are here, ours first.
fn fetchers(place: &Place, program: &Path, name: &str, missing: &mut Vec<String>) -> Vec<Fetcher> {
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    let program = program.display();
    let mut all = vec![Fetcher::new(Chapter::Images.package(), place, |_| {
        vec![words(&format!("{program} pull -q {name}"))]
    })];
    match in_path("podman") {
        None => missing.push("podman pull: not found in PATH".to_string()),
        Some(program) => all.push(Fetcher::new("podman pull", place, |state| {
            let mut pull = podman(program.clone(), NAMESPACES, &state.join("podman"));
            pull.extend(words(&format!("pull -q --tls-verify=false {name}")));
            vec![pull]
        })),
    }
    if let Some(absent) = ["skopeo", "umoci"].into_iter().find(|program| in_path(program).is_none()) {
        missing.push(format!("skopeo copy and umoci unpack: {absent} not found in PATH"));
    } else {
        all.push(Fetcher::new("skopeo copy and umoci unpack", place, |state| {
            let state = state.display();
            let copy = "skopeo copy -q --insecure-policy --src-tls-verify=false";
            let copy = words(&format!("{copy} docker://{name} oci:{state}/layout:1"));
            let unpack = words(&format!("umoci unpack --image {state}/layout:1 {state}/bundle"));
            vec![[apart(NAMESPACES), copy].concat(), unpack]
        }));
    }
    all
}

/// The most memory that one of our commands had, in KiB, and how many blobs were asked for when it was all there.
fn memory_and_questions(ours: &Fetcher, registry: &Registry) -> Result<(u64, usize)> {
    fs::create_dir(&ours.state).with_context(|| format!("making {}", ours.state.display()))?;
    let mut peak = 0;
    for mut command in ours.commands() {
        let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
        while child.try_wait()?.is_none() {
            peak = peak.max(peak_of(child.id()));
            thread::sleep(Duration::from_millis(1));
        }
        ensure!(child.wait()?.success(), "{command:?} failed");
    }
    registry.forget();
    for mut command in ours.commands() {
        measure::time(&mut command)?;
    }
    let asked = ["GET", "HEAD"].map(|method| registry.asked(method, "/blobs/").len()).iter().sum();
    fs::remove_dir_all(&ours.state).with_context(|| format!("removing {}", ours.state.display()))?;
    Ok((peak, asked))
}

/// The most memory that a process has had until now, in KiB; nothing if it has ended.
fn peak_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// How much longer a container takes that lies on a hundred layers.
fn many_layers(place: &Place, program: &Path, runs: usize) -> Result<Figure> {
    const MANY: usize = 100;
    const AIM: f64 = 1.2;
    let layer = |number: usize| match number {
        0 => busybox(),
        _ => Ok(vec![Entry::file(&format!("layer-{number}"), "one of many\n")]),
    };
    let run = |count: usize| {
        let mut run = Command::new(program);
        run.env("BYHAND_ROOT", place.state()).args(["run", "--rm", "-m", "100m"]);
        run.arg(format!("bench/layers:{count}")).arg(TRUE);
        run
    };
    for count in [1, MANY] {
        let image = Image::of(&(0..count).map(layer).collect::<Result<Vec<_>>>()?)?;
        let file = place.path("layers.tar");
        image.write_archive(&file, &format!("bench/layers:{count}"))?;
        let mut load = Command::new(program);
        load.env("BYHAND_ROOT", place.state()).args(["load", "-q", "-i"]).arg(&file);
        measure::time(&mut load)?;
        measure::time(&mut run(count))?; // which unpacks it
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (times, count) in times.iter_mut().zip([1, MANY]) {
            times.push(measure::time(&mut run(count))?);
        }
    }
    let [one, many] = times.map(|times| median(&times));
    Ok(Figure {
        what: format!("a container upon {MANY} layers, and one upon one"),
        ours: format!("{many:.1} ms and {one:.1} ms: {:.2} of it", ratio(many, one)),
        floors: String::new(),
        target: format!("at most {AIM:.2}"),
        reached: Some(ratio(many, one) <= AIM),
    })
}

/// For the page of the book.
pub(crate) fn page(figures: &[Figure]) -> String {
    let mut page = String::new();
    if figures.is_empty() {
        return page;
    }
    let _ = write!(
        page,
        "\n## Images\n\n\
         A registry of the lab's own, on the loopback device, has the large image; each contender begins with nothing, and they \
         take turns. Medians.\n\n\
         | | {} | beside | aim | |\n|---|---|---|---|---|\n",
        Chapter::Images.package()
    );
    for figure in figures {
        page.push_str(&figure.row());
    }
    page
}
