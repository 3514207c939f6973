//! Faults in what changes the store of images: `pull`, `load`, `commit` and `rmi` are killed at each of their system calls, or
//! one of these fails, or the disk is full. Afterwards the images that were there run, none is there by half, and the same
//! command again does all of its work.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use serde_json::Value;

use super::calls::{self, Call, all_right, part_of, some_of_each};
use super::fail::{can_fail, reason};
use super::full_disk::on_a_disk_of;
use super::own_cgroups::same_paths;
use super::tracer::What::{self, Fails, Kills};
use super::tracer::{self, Seen};
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::machine::snapshot::Snapshot;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::oci::{Entry, Image, busybox};
use crate::trial::outcome::Outcome;
use crate::trial::registry::Registry;
use crate::trial::runtime::{Lab, Run};
use crate::trial::strace;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "pull-killed-anywhere",
        Images,
        "Killed before any of its system calls, pull leaves every image whole or not there, and the next pull brings it.",
        |lab| sweep(lab, pull, &[Kills]),
    ),
    Check::new(
        "pull-call-fails",
        Images,
        "Whichever call of pull fails, it brings the image or says why not, and the next pull brings it.",
        |lab| sweep(lab, pull, FAILURES),
    ),
    Check::new(
        "load-killed-anywhere",
        Images,
        "Killed before any of its system calls, load leaves every image whole or not there, and the next load brings it.",
        |lab| sweep(lab, load, &[Kills]),
    ),
    Check::new(
        "load-call-fails",
        Images,
        "Whichever call of load fails, it brings the image or says why not, and the next load brings it.",
        |lab| sweep(lab, load, FAILURES),
    ),
    Check::new(
        "commit-killed-anywhere",
        Images,
        "Killed before any of its system calls, commit leaves every image whole or not there, and a container that can go on.",
        |lab| sweep(lab, commit, &[Kills]),
    ),
    Check::new(
        "commit-call-fails",
        Images,
        "Whichever call of commit fails, it makes the image or says why not, and the container goes on.",
        |lab| sweep(lab, commit, FAILURES),
    ),
    Check::new(
        "rmi-killed-anywhere",
        Images,
        "Killed before any of its system calls, rmi leaves every image whole or not there, and prune takes the rest away.",
        |lab| sweep(lab, rmi, &[Kills]),
    ),
    Check::new(
        "rmi-call-fails",
        Images,
        "Whichever call of rmi fails, it removes the image or says why not, and prune takes the rest away.",
        |lab| sweep(lab, rmi, FAILURES),
    ),
    Check::new(
        "pull-full-disk",
        Images,
        "A pull that the disk has no room for says so, and leaves every image whole or not there.",
        |lab| on_small_disks(lab, pull),
    ),
    Check::new(
        "load-full-disk",
        Images,
        "A load that the disk has no room for says so, and leaves every image whole or not there.",
        |lab| on_small_disks(lab, load),
    ),
];

/// A call fails with one of these: the next call with the next, or each would cost three times as much.
const FAILURES: &[What] = &[Fails(Errno::EPERM), Fails(Errno::ENOSPC), Fails(Errno::EINTR)];

/// Of calls of one name, so many at most, the first and the last: each costs some six commands.
const MOST: usize = 2;

/// The image that is there, whatever happens, and the one that comes or goes.
const OLD: &str = "lab/old:1";
const NEW: &str = "lab/new:1";

/// A command, and what it needs.
struct Story<'a> {
    lab: &'a Lab,
    verb: &'static str,
    words: Vec<String>,
    /// The image that it brings, or takes away.
    name: String,
    removes: bool,
    _registry: Option<Registry>,
    /// For commit.
    container: Option<Kept<'a>>,
    before: State,
}

/// What must be there again in the end.
#[derive(Default)]
struct State {
    store: Vec<PathBuf>,
    others: Vec<PathBuf>,
    home: Option<Snapshot>,
}

fn old() -> Result<Image> {
    Image::of(&[busybox()?, vec![Entry::file("from", "old\n")]])?.zipped()
}

/// Its lowest layer is the other's, too. One of the others is so long that it comes in several pieces.
fn new(length: usize) -> Result<Image> {
    let middle = vec![
        Entry::file("from", "nobody\n"),
        Entry::directory("d/"),
        Entry::file("d/file", "x"),
        Entry::hard_link("d/second", "d/file"),
        Entry::symlink("d/link", "file"),
        Entry::fifo("d/pipe"),
        Entry::file("long", noise(length)),
    ];
    let top = vec![
        Entry::file("from", "new\n"),
        Entry::file("d/.wh.file", ""),
        Entry::file("home/.wh..wh..opq", ""),
    ];
    Image::of(&[busybox()?, middle, top])?.zipped()
}

/// Bytes that no compression makes fewer.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

impl<'a> Story<'a> {
    /// With the old image in the store.
    fn new(lab: &'a Lab, verb: &'static str, words: &[&str], name: &str) -> Result<Story<'a>> {
        let words = words.iter().map(ToString::to_string).collect();
        let file = lab.path("old.tar");
        old()?.write_archive(&file, OLD)?;
        lab.call("load", ["-q".as_ref(), "-i".as_ref(), file.as_os_str()]).finish()?.succeeds()?;
        let name = name.to_string();
        Ok(Story {
            lab,
            verb,
            words,
            name,
            removes: false,
            _registry: None,
            container: None,
            before: State::default(),
        })
    }

    fn run(&self) -> Result<Run<'a>> {
        let home = self.lab.folder("home")?;
        Ok(self
            .lab
            .call(self.verb, &self.words)
            .variable("HOME", &home.to_string_lossy())
            .variable("RUST_BACKTRACE", "0"))
    }

    /// Before each time that the command is tried.
    fn prepare(&self) -> Result<()> {
        if self.removes { load_new(self.lab) } else { Ok(()) }
    }

    /// Does it with nothing wrong, so that what is made only once is there.
    fn once(&mut self) -> Result<()> {
        self.prepare()?;
        let outcome = self.run()?.finish()?;
        outcome.succeeds()?;
        self.again_and_away(&outcome)?;
        self.settle()
    }

    /// Returns its calls, with nothing wrong.
    fn look(&mut self) -> Result<Vec<Call>> {
        let mut calls = Vec::new();
        for _ in 0..2 {
            self.prepare()?;
            let seen = tracer::carry_out(self.run()?, None, false, &|| {})?;
            seen.outcome.succeeds()?;
            self.again_and_away(&seen.outcome)?;
            self.prepare()?;
            calls = calls::own(self.lab, &seen.calls, &calls::names(self.lab, &[], self.run()?)?)?;
            self.again_and_away(&seen.outcome)?;
        }
        self.settle()?;
        Ok(calls)
    }

    /// Takes the present state for the one that must be there in the end.
    fn settle(&mut self) -> Result<()> {
        self.before = State {
            store: paths(&self.lab.state().join("store")),
            others: self.others(),
            home: Some(Snapshot::of(&self.lab.folder("home")?)?),
        };
        self.lab.arranged()
    }

    /// What the state directory has beside the store, but not what runs make and remove.
    fn others(&self) -> Vec<PathBuf> {
        let store = self.lab.state().join("store");
        paths(&self.lab.state()).into_iter().filter(|path| !path.starts_with(&store)).collect()
    }

    /// The images: each has to run, by its name or else by its id. Returns whether the new one has its name.
    fn all_run(&self) -> Result<bool> {
        let listed = self.lab.call("images", ["--no-trunc", "--format", "json"]).finish()?;
        listed.succeeds()?;
        let mut names = BTreeSet::new();
        for line in listed.output().lines() {
            let row: Value = serde_json::from_str(line).map_err(|error| listed.differs(error))?;
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
            let (name, id) = (format!("{}:{}", text("Repository"), text("Tag")), text("ID"));
            let (word, texts): (_, &[&str]) = match name.as_str() {
                OLD => (OLD, &["old\n"]),
                name if name == self.name => (name, &["new\n"]),
                _ => (&id, &["old\n", "new\n"]),
            };
            let outcome = self.lab.run(["cat", "/from"]).with(["--pull", "never"]).of(word).finish()?;
            outcome.succeeds()?;
            if !texts.contains(&outcome.output().as_str()) {
                return Err(outcome.differs(format!("one of {texts:?}")));
            }
            names.insert(name);
        }
        see::same(&listed.line, "the old image to be there:", true, names.contains(OLD))?;
        Ok(names.contains(&self.name))
    }

    /// The command once more, which has all to do that it had; and then the store is as it was before.
    fn again_and_away(&self, first: &Outcome) -> Result<()> {
        let did = &first.line;
        let is_there = self.all_run()?;
        if first.status.success() {
            see::same(did, "the new image to be there:", !self.removes, is_there)?;
        }
        let again = self.run()?.finish()?;
        if self.removes && !is_there {
            again.refuses(&[1])?.mentions("no such image")?;
        } else {
            again.succeeds()?;
        }
        let named = self.lab.run(["cat", "/from"]).with(["--pull", "never"]).of(&self.name).finish()?;
        if self.removes {
            named.refuses(&[125])?.mentions("no such image")?;
        } else {
            named.succeeds()?.prints("new\n")?;
            self.lab.call("rmi", [&self.name]).finish()?.succeeds()?;
        }
        self.lab.call("prune", ["-f"]).finish()?.succeeds().map(drop)
    }

    fn is_as_before(&self, did: &str) -> Result<()> {
        same_paths(did, "the store", &self.before.store, &paths(&self.lab.state().join("store")))?;
        same_paths(did, "the rest of the state directory", &self.before.others, &self.others())?;
        self.before.home.iter().try_for_each(|home| home.still(did))?;
        self.lab.host_unchanged(did)
    }

    /// The command with a blow at this call. Returns whether it got there.
    fn one(&self, call: &Call, blow: What) -> Result<bool> {
        self.prepare()?;
        let Seen { outcome, hit, .. } =
            tracer::carry_out(self.run()?, Some(call.fault(blow)), false, &|| {})?;
        match blow {
            Fails(errno) if !outcome.status.success() => {
                refused(&outcome)?.mentions(&reason(call, errno))?;
            }
            Fails(_) => drop(outcome.succeeds()?),
            _ => see::same(&outcome.line, "its exit status", None, outcome.status.code().filter(|_| hit))?,
        }
        self.goes_on(&outcome, blow)?;
        self.again_and_away(&outcome)?;
        self.is_as_before(&outcome.line)?;
        Ok(hit)
    }

    /// The container that is committed has to go on. Only if whoever let it stand still was killed, somebody else may have to
    /// tell it.
    fn goes_on(&self, outcome: &Outcome, blow: What) -> Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        let state = container.state()?;
        if state == "paused" && blow == Kills {
            return self.lab.says("unpause", [container.id()], &format!("{}\n", container.id()));
        }
        see::same(&outcome.line, "the container to be", "running".to_string(), state)
    }
}

/// An error is a line. What was done until then may have been told.
fn refused(outcome: &Outcome) -> Result<&Outcome> {
    outcome.exits(1)?;
    if outcome.error().lines().count() == 1 {
        Ok(outcome)
    } else {
        Err(outcome.differs("one line on stderr"))
    }
}

/// All paths below a directory, but not what is in unpacked layers.
fn paths(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut rest) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(directory) = rest.pop() {
        let is_layers = directory.ends_with("store/layers");
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !is_layers && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                rest.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

fn pull(lab: &Lab, length: usize) -> Result<Story<'_>> {
    let registry = Registry::open()?;
    let name = registry.put(&new(length)?, NEW);
    let story = Story::new(lab, "pull", &["-q", &name], &name)?;
    Ok(Story { _registry: Some(registry), ..story })
}

fn new_file(lab: &Lab) -> PathBuf {
    lab.path("new.tar")
}

fn load(lab: &Lab, length: usize) -> Result<Story<'_>> {
    let file = new_file(lab);
    new(length)?.write_archive(&file, NEW)?;
    Story::new(lab, "load", &["-q", "-i", file.to_str().context("a path that is no text")?], NEW)
}

fn load_new(lab: &Lab) -> Result<()> {
    lab.call("load", ["-q".as_ref(), "-i".as_ref(), new_file(lab).as_os_str()]).finish()?.succeeds().map(drop)
}

fn rmi(lab: &Lab, length: usize) -> Result<Story<'_>> {
    new(length)?.write_archive(&new_file(lab), NEW)?;
    Ok(Story { removes: true, ..Story::new(lab, "rmi", &[NEW], NEW)? })
}

fn commit(lab: &Lab, _: usize) -> Result<Story<'_>> {
    let story = Story::new(lab, "commit", &["one", NEW], NEW)?;
    let script = "echo new > /from; rm -r /home; mkdir /home; mkfifo /pipe; echo ready; exec sleep 1000";
    let container = lab.kept(["sh", "-c", script]).with(["--name", "one"]).of(OLD).detach()?;
    container.wrote("ready\n")?;
    Ok(Story { container: Some(container), ..story })
}

/// The story, blow by blow.
fn sweep(lab: &Lab, story: fn(&Lab, usize) -> Result<Story<'_>>, blows: &[What]) -> Result<()> {
    strace::required()?;
    let mut story = story(lab, 200_000)?;
    let calls = story.look()?;
    let chosen = part_of(&some_of_each(&calls, MOST))?;
    let (mut count, mut hits, mut wrong) = (0, 0, Vec::new());
    for (call, turn) in chosen.iter().zip(0..) {
        let mut from_here = blows.iter().cycle().skip(turn % blows.len()).take(blows.len());
        let can_be = |blow: &&What| match blow {
            Fails(errno) => can_fail(call, *errno),
            _ => true,
        };
        let Some(blow) = from_here.find(can_be) else { continue };
        count += 1;
        match story.one(call, *blow) {
            Ok(hit) => hits += usize::from(hit),
            Err(error) => wrong.push((call, error.context(format!("{blow:?}")))),
        }
    }
    println!("{}: {count} of {} calls, {hits} of them reached", story.verb, calls.len());
    all_right(&story.run()?.line(), &wrong)?;
    // Threads share their work now so, now otherwise.
    see::same("the sweep", "nearly all of the calls reached:", true, hits * 10 >= count * 8)?;
    story.container.take().map_or(Ok(()), Kept::remove)
}

/// How much room there is, in bytes, when a story begins that needs some two megabytes.
const ROOM: [u64; 7] = [0, 4 << 10, 8 << 10, 40 << 10, 800 << 10, 1200 << 10, 1800 << 10];

fn on_small_disks(lab: &Lab, story: fn(&Lab, usize) -> Result<Story<'_>>) -> Result<()> {
    on_a_disk_of(lab, "16m", || {
        let mut story = story(lab, 1_000_000)?;
        story.once()?;
        ROOM.iter().try_for_each(|room| with_room(&story, *room))
    })
}

fn with_room(story: &Story<'_>, room: u64) -> Result<()> {
    let filler = story.lab.state().join("others-data");
    let disk = statvfs(&story.lab.state())?;
    let free = disk.blocks_available() * disk.fragment_size();
    fs::write(&filler, vec![0; free.saturating_sub(room) as usize])?;
    let outcome = story.run()?.finish()?;
    let listed = story.lab.call("images", ["-q"]).finish()?;
    fs::remove_file(&filler)?;
    let did = format!("{} with {room} bytes free", outcome.line);
    refused(&outcome)?.mentions("(ENOSPC)")?;
    listed.succeeds()?;
    see::same(&did, "images that are listed:", 1, listed.output().lines().count())?;
    story.again_and_away(&outcome)?;
    story.is_as_before(&did)
}
