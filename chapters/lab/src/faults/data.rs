//! The host's data, against all that a container and its host can do to each other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::Signal;

use super::scene::{Kind, Scene};
use super::tracer::{What, Who};
use crate::chapter::Chapter::{Overlay, Volumes};
use crate::checks::check::Check;
use crate::machine::mounts::{self, bind, tmpfs};
use crate::machine::process::Process;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, SOON, wait_for};
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "data-survives-all-orders",
        Volumes,
        "Volumes busy, nested and mounted twice hold what was written, after any end, and nothing else changed.",
        all_orders,
    ),
    Check::new(
        "data-below-the-workspace",
        Volumes,
        "Data that somebody mounts below containers/<id> survives the end of that container, and later runs.",
        below_the_workspace,
    ),
    Check::new(
        "data-mounted-at-any-moment",
        Overlay,
        "Data that somebody mounts below containers/<id> survives, at whichever of run's steps that happens.",
        at_any_moment,
    ),
];

/// At each call of run's, somebody mounts data of the host's below its workspace.
fn at_any_moment(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let scene = Scene::new(lab, Kind::Usual)?;
    let precious = lab.folder("precious")?;
    fs::create_dir(precious.join("deep"))?;
    fs::write(precious.join("deep/file"), "the host's\n")?;
    let before = Snapshot::of(&precious)?;
    // The image has /etc, and upper gets one of its own, for the mount.
    let points =
        || lab.containers().into_iter().flat_map(|path| ["upper/etc", "upper"].map(|name| path.join(name)));
    for call in scene.calls.iter().filter(|call| call.who == Who::Parent) {
        let mounts = || {
            for point in points() {
                let _ = fs::create_dir(&point);
                let _ = bind(&precious, &point);
            }
        };
        let seen = scene.carry_out_while(Some(call.fault(What::Waits)), &mounts)?;
        let did = format!("{}, with a mount made before {}", scene.line(), call.described());
        let unchanged = before.still(&did);
        for mount in mounts_below(&lab.state())? {
            umount2(&mount, MntFlags::MNT_DETACH)?;
        }
        unchanged?;
        let ended = seen.outcome.status.code().is_some();
        see::same(&did, "run to end by itself:", true, ended)?;
        scene.carry_out_well()?;
        scene.host_is_as_before(&did)?;
        scene.nothing_is_left(&did)?;
    }
    Ok(())
}

/// The mount points below a directory, the newest first.
fn mounts_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let points = mounts::table()?.into_iter().rev().map(|mount| PathBuf::from(mount.point));
    Ok(points.filter(|point| point.starts_with(directory)).collect())
}

/// What writes, and keeps busy, each of the volumes.
const BUSY: &str =
    "echo 1 > /one/new && echo 2 > /one/nested/new && echo 3 > /one/again/new3 && rm /one/old &&
    ! echo x 2> /dev/null > /fixed/new && ! rm -r /fixed/file 2> /dev/null;
    cd /one/nested; exec 3< /one/new; (cd /two; sleep 1000) & echo ready; ";

/// A host with data in and beside directories that will be volumes.
struct Host {
    top: PathBuf,
}

impl Host {
    fn new(lab: &Lab) -> Result<Host> {
        let top = lab.folder("host")?;
        for directory in ["one/nested", "one/again", "two", "fixed", "precious/deep", "source"] {
            fs::create_dir_all(top.join(directory))?;
        }
        for file in ["fixed/file", "precious/file", "precious/deep/file", "beside"] {
            fs::write(top.join(file), format!("{file} of the host's\n"))?;
        }
        // A mount in a volume, and a directory that is seen at three places.
        tmpfs(&top.join("one/nested"), MsFlags::empty(), "size=1m")?;
        bind(&top.join("two"), &top.join("one/again"))?;
        lab.arranged()?;
        Ok(Host { top })
    }

    fn options(&self) -> Vec<String> {
        let volumes = ["one:/one", "two:/two", "two:/two/again", "fixed:/fixed:ro", "one/nested:/one/nested"];
        let volume = |volume| ["-v".to_string(), self.top.join(volume).to_string_lossy().into_owned()];
        volumes.into_iter().flat_map(volume).collect()
    }

    /// Takes away what an earlier run wrote, and puts back what it removed.
    fn reset(&self) -> Result<()> {
        for file in ["one/new", "one/nested/new", "two/new3"] {
            let _ = fs::remove_file(self.top.join(file));
        }
        fs::create_dir_all(self.top.join("two/again"))?; // where `two` is mounted in itself
        fs::write(self.top.join("one/old"), "to be removed\n")?;
        Ok(())
    }

    /// What must never change.
    fn untouched(&self) -> Result<Vec<Snapshot>> {
        ["fixed", "precious", "beside"].into_iter().map(|name| Snapshot::of(&self.top.join(name))).collect()
    }

    /// Fails unless the volumes hold exactly what the command wrote.
    fn holds_what_was_written(&self, did: &str) -> Result<()> {
        for (file, text) in [("one/new", "1\n"), ("one/nested/new", "2\n"), ("two/new3", "3\n")] {
            let saw = fs::read_to_string(self.top.join(file)).unwrap_or_default();
            see::same(did, &format!("in {file}"), text, saw.as_str())?;
        }
        for (directory, names) in [
            ("one", vec!["again", "nested", "new"]),
            ("one/nested", vec!["new"]),
            ("two", vec!["again", "new3"]),
        ] {
            let entries = fs::read_dir(self.top.join(directory))?.flatten();
            let mut saw: Vec<_> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            saw.sort();
            see::same(did, &format!("in {directory}"), names, saw.iter().map(String::as_str).collect())?;
        }
        Ok(())
    }
}

/// The ways in which a run can end.
const ENDS: [&str; 6] = ["exit", "fail", "kill the command", "kill run", "SIGTERM", "kill both"];

fn end(lab: &Lab, mut run: Running, how: &str) -> Result<String> {
    let container: Option<Process> =
        if how == "exit" || how == "fail" { None } else { Some(run.container()?) };
    match how {
        "kill the command" => container.iter().for_each(|process| process.signal(Signal::SIGKILL)),
        "kill run" => run.signal(Signal::SIGKILL),
        "kill both" => {
            run.signal(Signal::SIGKILL);
            container.iter().for_each(|process| process.signal(Signal::SIGKILL));
        }
        "SIGTERM" => run.signal(Signal::SIGTERM),
        _ => {}
    }
    let line = run.line().to_string();
    let outcome = run.finish()?;
    if how == "exit" {
        outcome.exits(0)?;
    }
    see::same(&line, "processes left", 0, lab.mark().gone(SOON).len())?;
    Ok(format!("{line} (end: {how})"))
}

fn command_for(how: &str) -> String {
    match how {
        "exit" => format!("{BUSY}exit 0"),
        "fail" => format!("{BUSY}exec /no/such/command"),
        // The trap first: a process 1 without one is shielded.
        _ => format!("trap 'exit 5' TERM; {BUSY}while :; do sleep 0.05; done"),
    }
}

fn all_orders(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let host = Host::new(lab)?;
    let untouched = host.untouched()?;
    for first in ENDS {
        for second in ENDS {
            host.reset()?;
            // Two containers on the same data; the second one ends later.
            let mut runs = Vec::new();
            for how in [first, second] {
                fs::write(host.top.join("one/old"), "to be removed\n")?;
                let mut run = lab.sh(&command_for(how)).with(host.options()).start()?;
                run.wrote("ready")?;
                runs.push((how, run));
            }
            let (how, run) = runs.remove(0);
            let mut did = run.line().to_string();
            let outlives = |run: &Running| lab.mark().processes().contains(&run.runtime());
            if how == "exit" || how == "fail" {
                run.finish()?;
            } else {
                let alive = outlives(&run);
                see::same(&did, "the run to go on", true, alive)?;
                signal_end(run, how)?;
            }
            host.holds_what_was_written(&did)?;
            let (how, run) = runs.remove(0);
            did = end(lab, run, how)?;
            lab.run(["true"]).finish()?.succeeds()?;
            host.holds_what_was_written(&did)?;
            untouched.iter().try_for_each(|snapshot| snapshot.still(&did))?;
            lab.host_unchanged(&did)?;
            let left = lab.containers();
            see::same(&did, "in containers/, after one more run,", Vec::new(), left)?;
        }
    }
    println!("{:?}: {} orders of two ends", lab.chapter(), ENDS.len() * ENDS.len());
    Ok(())
}

/// Ends a run while another one goes on.
fn signal_end(mut run: Running, how: &str) -> Result<()> {
    let container = run.container()?;
    match how {
        "SIGTERM" => run.signal(Signal::SIGTERM),
        "kill run" => run.signal(Signal::SIGKILL),
        "kill both" => {
            run.signal(Signal::SIGKILL);
            container.signal(Signal::SIGKILL);
        }
        _ => container.signal(Signal::SIGKILL),
    }
    run.finish()?;
    wait_for(SOON, || Ok((!container.lives()).then_some(())))?;
    Ok(())
}

fn below_the_workspace(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let host = Host::new(lab)?;
    let untouched = host.untouched()?;
    let precious = host.top.join("precious");
    for place in ["merged", "upper", "upper/tmp/there", "upper/one", "work/work", "lower-of-mine", "."] {
        for how in ["kill the command", "kill run", "SIGTERM"] {
            host.reset()?;
            let script = format!("mkdir /tmp/there; {}", command_for(how));
            let mut run = lab.sh(&script).with(host.options()).start()?;
            run.wrote("ready")?;
            let point = lab.workspace(&mut run)?.join(place);
            fs::create_dir_all(&point)?;
            bind(&precious, &point)?;
            let did = format!("{} with a mount on {}", end(lab, run, how)?, point.display());
            untouched.iter().try_for_each(|snapshot| snapshot.still(&did))?;
            // Later runs leave it alone too, as long as it is mounted.
            lab.run(["true"]).finish()?.exits(0)?;
            untouched.iter().try_for_each(|snapshot| snapshot.still(&did))?;
            host.holds_what_was_written(&did)?;
            if is_mounted(&point)? {
                umount2(&point, MntFlags::MNT_DETACH)?;
            }
            lab.run(["true"]).finish()?.succeeds()?;
            untouched.iter().try_for_each(|snapshot| snapshot.still(&did))?;
            see::same(
                &did,
                "in containers/, when nothing is mounted any more,",
                Vec::new(),
                lab.containers(),
            )?;
            lab.host_unchanged(&did)?;
        }
    }
    Ok(())
}

fn is_mounted(point: &Path) -> Result<bool> {
    Ok(mounts::table()?.iter().any(|mount| Path::new(&mount.point) == point))
}
