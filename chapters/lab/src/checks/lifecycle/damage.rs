//! A record that is damaged, or lies.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "damaged-ended",
        Lifecycle,
        "A record with a file missing, empty or garbage makes commands work, or refuse in one line; ps tells the truth; rm -f removes it.",
        ended,
    ),
    Check::new(
        "damaged-running",
        Lifecycle,
        "The same while the container runs: rm -f ends it, too.",
        running,
    ),
    Check::new(
        "damaged-start",
        Lifecycle,
        "start of one that runs with a damaged record says soon that it runs, or what is wrong; it runs on.",
        start,
    ),
    Check::new("damaged-others", Lifecycle, "One damaged record hides no other container from ps.", others),
    Check::new(
        "stranger-spared",
        Lifecycle,
        "A record with another process's number makes no command touch that process.",
        stranger,
    ),
];

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Missing,
    Empty,
    Garbage,
}

const ALL: [Damage; 3] = [Damage::Missing, Damage::Empty, Damage::Garbage];

impl Damage {
    fn done_to(self, file: &Path) -> Result<()> {
        match self {
            Damage::Missing => fs::remove_file(file),
            Damage::Empty => fs::write(file, ""),
            Damage::Garbage => fs::write(file, b"\xff\xfe -7 99999999999999999999 \0 {[\n../../..\n"),
        }
        .with_context(|| format!("damaging {}", file.display()))
    }
}

/// The files in a container's record, by name.
fn facts(lab: &Lab, one: &Kept<'_>) -> Result<Vec<PathBuf>> {
    let directory = lab.place_of_containers().join(one.id());
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        return Err(see::cannot_run("the runtime keeps no file in records/ID"));
    }
    found.sort();
    Ok(found)
}

/// It may succeed or refuse, in one line.
pub(super) fn in_words(outcome: &Outcome, damage: &str) -> Result<()> {
    let fine = outcome.status.code().is_some_and(|code| code != 101) && !outcome.error().contains("panicked");
    if fine && outcome.error().lines().count() <= 1 {
        return Ok(());
    }
    Err(outcome.differs(format!("no panic, and one line at most on stderr, with {damage}")))
}

/// Does all damage there is, one at a time, to containers as `make` makes them. `truth` is what `ps -a` has to say of them
/// all the same.
fn damaged<'a>(
    lab: &'a Lab,
    make: impl Fn() -> Result<Kept<'a>>,
    truth: &str,
    verbs: &[(&'static str, &[&str])],
) -> Result<()> {
    let first = make()?;
    let names: Vec<_> =
        facts(lab, &first)?.iter().filter_map(|path| Some(path.file_name()?.to_owned())).collect();
    drop(first);
    let mut untrue = BTreeSet::new();
    for name in &names {
        for damage in ALL {
            let one = make()?;
            let process = one.process().ok();
            let file = lab.place_of_containers().join(one.id()).join(name);
            if !file.exists() {
                continue;
            }
            damage.done_to(&file)?;
            let told = format!("{} {damage:?}", file.display());
            let status = one.status()?;
            if !status.starts_with(truth) {
                untrue.insert(format!("{}: {status:?}", name.display()));
            }
            for (verb, options) in verbs {
                let words = options.iter().copied().chain((*verb != "ps").then_some(one.id()));
                let words = words.chain((*verb == "exec").then_some("true"));
                in_words(&lab.call(verb, words).finish()?, &told)?;
            }
            let removed = lab.call("rm", ["-f", one.id()]).finish()?;
            in_words(&removed, &told)?;
            removed.exits(0)?;
            see::same(
                format!("{}, with {told}", removed.line),
                "what is left:",
                Vec::new(),
                lab.containers(),
            )?;
            if process.is_some_and(Process::lives) {
                return Err(removed.differs(format!("the end of its process 1, with {told}")));
            }
        }
    }
    // One of the files says it, and where that is damaged nobody can know.
    let files: BTreeSet<_> = untrue.iter().filter_map(|one| one.split(':').next()).collect();
    if files.len() <= 1 {
        return Ok(());
    }
    Err(see::differs("ps -a", format!("{truth:?}, with any file damaged but one"), format!("{untrue:?}")))
}

fn ended(lab: &Lab) -> Result<()> {
    let make = || {
        let one = lab.kept(["sh", "-c", "echo line; exit 3"]).with(["--name", "damaged"]).detach()?;
        one.exits(3)?;
        Ok(one)
    };
    let verbs: &[(&str, &[&str])] = &[
        ("ps", &["-a"]),
        ("ps", &["-a", "--format", "json"]),
        ("inspect", &[]),
        ("logs", &["-t"]),
        ("wait", &[]),
        ("stop", &[]),
        ("kill", &[]),
        ("pause", &[]),
        ("top", &[]),
        ("attach", &[]),
        ("start", &["-a"]),
        ("start", &[]),
    ];
    damaged(lab, make, "Exited (3) ", verbs)
}

fn running(lab: &Lab) -> Result<()> {
    let make = || lab.kept(["sleep", "1000"]).with(["--name", "damaged"]).detach();
    let verbs: &[(&str, &[&str])] = &[
        ("ps", &[]),
        ("inspect", &[]),
        ("logs", &[]),
        ("kill", &["-s", "USR1"]),
        ("exec", &[]),
        ("pause", &[]),
        ("ps", &[]),
        ("unpause", &[]),
        ("top", &[]),
        ("stop", &["-t", "0"]),
    ];
    damaged(lab, make, "Up ", verbs)
}

fn start(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--name", "damaged"]).detach()?;
    let process = one.process()?;
    for file in facts(lab, &one)? {
        let content = fs::read(&file)?;
        for damage in [Damage::Missing, Damage::Garbage] {
            damage.done_to(&file)?;
            let told = format!("{} {damage:?}", file.display());
            let begun = Instant::now();
            let outcome = lab.call("start", [one.id()]).finish()?;
            if begun.elapsed() > SOON {
                return Err(outcome.differs(format!("an answer within {SOON:?}, with {told}")));
            }
            match outcome.status.code() {
                Some(0) => outcome.succeeds()?.prints(format!("{}\n", one.id()))?,
                _ => outcome.refuses(&[1])?.mentions(one.id())?,
            };
            see::same(&outcome.line, &format!("its process 1, with {told},"), process, one.process()?)?;
            fs::write(&file, &content)?;
        }
    }
    Ok(())
}

fn others(lab: &Lab) -> Result<()> {
    let one = lab.kept(["true"]).with(["--name", "one"]).detach()?;
    one.exits(0)?;
    let two = lab.kept(["sleep", "1000"]).with(["--name", "two"]).detach()?;
    for file in facts(lab, &one)? {
        Damage::Garbage.done_to(&file)?;
    }
    let listed = lab.call("ps", ["-q"]).finish()?;
    listed.exits(0)?.prints(format!("{}\n", two.id()))?;
    for file in facts(lab, &one)? {
        Damage::Missing.done_to(&file)?;
    }
    lab.call("ps", ["-q"]).finish()?.exits(0)?.prints(format!("{}\n", two.id()))?;
    // What is no record is nobody's container, and stays.
    let foreign = [lab.place_of_containers().join("notes"), lab.place_of_containers().join("not-an-id")];
    fs::write(&foreign[0], "of somebody else")?;
    fs::create_dir(&foreign[1])?;
    lab.call("ps", ["-a"]).finish()?.exits(0)?;
    lab.says("stop", ["-t", "0", "two"], "two\n")?;
    lab.says("rm", ["two"], "two\n")?;
    see::same(
        "ps, stop and rm",
        "what is no record to stay:",
        true,
        foreign.iter().all(|path| path.exists()),
    )?;
    fs::remove_file(&foreign[0])?;
    fs::remove_dir(&foreign[1])?;
    one.remove()
}

/// A process that has nothing to do with containers. Dropped, it is killed.
struct Stranger(std::process::Child);

impl Stranger {
    fn new(lab: &Lab) -> Result<Stranger> {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mark = lab.mark();
        // SAFETY: system calls only.
        unsafe { sleep.pre_exec(move || mark.begin()) };
        Ok(Stranger(sleep.spawn().context("starting sleep")?))
    }

    fn process(&self) -> Process {
        Process(self.0.id().cast_signed())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes another number for `old` wherever it stands by itself in the record. False if it stands nowhere.
fn replace(lab: &Lab, one: &Kept<'_>, old: Process, new: Process) -> Result<bool> {
    let mut found = false;
    for file in facts(lab, one)? {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let words: Vec<_> = text.split_inclusive(|c: char| !c.is_ascii_digit()).collect();
        let is_it = |word: &str| word.trim_end_matches(|c: char| !c.is_ascii_digit()) == old.0.to_string();
        if words.iter().any(|word| is_it(word)) {
            found = true;
            let other = |word: &&str| {
                if is_it(word) {
                    word.replace(&old.0.to_string(), &new.0.to_string())
                } else {
                    word.to_string()
                }
            };
            fs::write(&file, words.iter().map(other).collect::<String>())?;
        }
    }
    Ok(found)
}

fn stranger(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let stranger = Stranger::new(lab)?;
    let spared = |one: &Kept<'_>, verb: &str| {
        // It has had the time to die.
        std::thread::sleep(std::time::Duration::from_millis(30));
        if stranger.process().lives() {
            Ok(())
        } else {
            Err(one.differs(format!("{verb} to spare a process of others"), "it is dead"))
        }
    };
    for killed in [false, true] {
        for (verb, options) in
            [("stop", vec!["-t", "0"]), ("kill", vec![]), ("exec", vec![]), ("rm", vec!["-f"])]
        {
            let one = lab.kept(["sleep", "1000"]).detach()?;
            let process = one.process()?;
            if killed {
                one.keeper()?.signal(Signal::SIGKILL);
                let gone = wait_for(SOON, || Ok((!process.lives()).then_some(())))?;
                gone.ok_or_else(|| one.differs("the end of its process 1", "it lives"))?;
            }
            if !replace(lab, &one, process, stranger.process())? {
                return Ok(()); // no number, no mistake
            }
            let command = (verb == "exec").then_some("true");
            let words = options.into_iter().chain([one.id()]).chain(command);
            lab.call(verb, words).finish()?;
            spared(&one, verb)?;
            if verb != "rm" {
                one.remove()?;
            }
            spared(&lab.kept(["true"]).detach()?, "rm -f")?;
            if process.lives() {
                return Err(see::differs("rm -f", "the end of its process 1", "it lives"));
            }
        }
    }
    drop(stranger);
    Ok(())
}
