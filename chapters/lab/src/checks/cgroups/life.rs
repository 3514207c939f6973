//! A cgroup's life: there before the command, gone after it, and there only if asked for.

use std::fs;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::Signal;

use super::containers::{idle, own_cgroup};
use crate::chapter::Chapter::{Cgroups, Init};
use crate::checks::check::Check;
use crate::machine::hierarchy;
use crate::machine::mounts::{self, bind, rebind};
use crate::see::{self, CannotRun};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;
use crate::trial::strace::{MOUNTS, traced};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "cgroup-from-the-start",
        Cgroups,
        "The command finds itself in its cgroup in its first action.",
        from_the_start,
    ),
    Check::new(
        "limit-first",
        Cgroups,
        "The limit is written, then the child joins, then it executes the command.",
        limit_first,
    ),
    Check::new(
        "no-limit-no-cgroup",
        Cgroups,
        "Without a limit there is no cgroup: the command stays in its caller's.",
        no_limit_no_cgroup,
    )
    .until(Init), // then each has one in which it can be frozen
    Check::new(
        "cgroup-gone",
        Cgroups,
        "The cgroup is gone after the command's end, whatever the end was.",
        cgroup_gone,
    ),
    Check::new(
        "cgroup-leftover",
        Cgroups,
        "The cgroup that a killed run left behind the next run takes away, and no one else's.",
        cgroup_leftover,
    ),
    // Later the container does not see the host's cgroups any more.
    Check::new(
        "cgroup-with-subgroups",
        Cgroups,
        "The cgroup is gone even if the command has made cgroups in it.",
        cgroup_with_subgroups,
    )
    .until(Cgroups),
    Check::new(
        "cgroup-parent-gone",
        Cgroups,
        "With the last container goes the cgroup that held them all.",
        cgroup_parent_gone,
    ),
    Check::new(
        "twenty-limited",
        Cgroups,
        "Twenty containers started at once all get their cgroups, and leave none.",
        twenty_limited,
    ),
    Check::new(
        "controller-missing",
        Cgroups,
        "A limit whose controller the host lacks is an error that names it, and no file is written elsewhere.",
        controller_missing,
    ),
    Check::new(
        "cgroup-fails",
        Cgroups,
        "If a limit cannot be set, run returns 125 and the command never runs.",
        cgroup_fails,
    ),
];

fn from_the_start(lab: &Lab) -> Result<()> {
    hierarchy::required("memory")?;
    let outcome = lab.run(["cat", "/proc/self/cgroup"]).with(["-m", "100m"]).finish()?;
    let output = outcome.succeeds()?.output();
    let memory = |list: &str| list.lines().find(|line| is_memory(line)).map(str::to_string);
    let own = memory(&fs::read_to_string("/proc/thread-self/cgroup")?);
    let first = memory(&output);
    if first.is_none() || first == own {
        return Err(outcome.differs(format!("another cgroup for memory than its caller's, {own:?}")));
    }
    Ok(())
}

/// Whether a line of `/proc/PID/cgroup` tells the cgroup of the memory controller.
fn is_memory(line: &str) -> bool {
    let controllers = line.split(':').nth(1).unwrap_or_default();
    let v2 = hierarchy::of("memory").ok().flatten().is_some_and(|hierarchy| hierarchy.v2);
    if v2 { controllers.is_empty() } else { controllers.split(',').any(|one| one == "memory") }
}

fn limit_first(lab: &Lab) -> Result<()> {
    let file = if hierarchy::required("memory")?.v2 { "/memory.max\"" } else { "/memory.limit_in_bytes\"" };
    let run = lab.run(["true"]).with(["-m", "100m"]);
    let (outcome, trace) = traced(lab, &["-e", "trace=open,openat,openat2,creat,execve"], run)?;
    outcome.exits(0)?;
    // Only what is opened for writing: a runtime may read others before.
    let writes = |line: &str| ["O_WRONLY", "O_RDWR", "creat("].iter().any(|how| line.contains(how));
    let first = |name: &dyn Fn(&str) -> bool| trace.lines().position(|line| writes(line) && name(line));
    let limit = first(&|line| line.contains(file));
    let join = first(&|line| line.contains("/tasks\"") || line.contains("/cgroup.procs\""));
    // The command's arguments are "true" alone; the runtime's end with it.
    let execute = trace.lines().position(|line| line.contains("execve(") && line.contains("[\"true\"]"));
    if limit.is_none() || limit >= join || join >= execute {
        let expected =
            "in strace -f: the limit's file opened, then tasks or cgroup.procs, then execve of the command";
        return Err(outcome
            .differs(format!("{expected}; these were lines {limit:?}, {join:?}, {execute:?} of\n{trace}")));
    }
    Ok(())
}

fn no_limit_no_cgroup(lab: &Lab) -> Result<()> {
    let mut run = idle(lab, &[])?;
    let own = fs::read_to_string("/proc/thread-self/cgroup")?;
    let saw = fs::read_to_string(run.container()?.file("cgroup"))?;
    run.same("the caller's own cgroups", own, saw)?;
    let id = run.id()?;
    hierarchy::none_of(run.line(), &id)?;
    run.kill_command().map(drop)
}

/// A limit that no other check asks for, so that a cgroup left behind can be told from theirs.
fn own_limit(lab: &Lab) -> String {
    (128 * 1024 * 1024 + lab.mark().serial() * 4096).to_string()
}

/// Fails if a cgroup with this limit is there.
fn none_with(outcome: &Outcome, limit: &str) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    let name = if hierarchy.v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let ours = |path: &std::path::PathBuf| {
        fs::read_to_string(path.join(name)).is_ok_and(|text| text.trim() == limit)
    };
    let left: Vec<_> = hierarchy.all().into_iter().filter(ours).collect();
    see::same(&outcome.line, "the container's cgroup to be gone, but there is", Vec::new(), left)
}

fn cgroup_gone(lab: &Lab) -> Result<()> {
    hierarchy::required("memory")?;
    let limit = own_limit(lab);
    let options = ["-m", limit.as_str()];
    for script in [
        "exit 0",
        "exit 7",
        "sleep 1000 & sleep 1000 & exit 0",
        "sh -c 'trap \"\" TERM; sleep 1000' & exit 3",
        // Killed for its memory: all of a block is read before it is written.
        "dd if=/dev/zero of=/dev/null count=1 bs=400000000 2> /dev/null",
    ] {
        none_with(&lab.sh(script).with(options).finish()?, &limit)?;
    }
    // A command that never ran.
    for command in ["no-such-command", "/etc/passwd"] {
        let outcome = lab.run([command]).with(options).finish()?;
        outcome.refuses(&[126, 127])?;
        none_with(&outcome, &limit)?;
    }
    // A container that could not be made, for the hostname is too long, and for the kernel says no.
    let outcome = lab.run(["true"]).with(options).with(["--hostname", &"x".repeat(65)]).finish()?;
    outcome.refuses(&[125])?;
    none_with(&outcome, &limit)?;
    for call in ["sethostname", MOUNTS] {
        let rule = format!("inject={call}:error=EPERM:when=1");
        let run = lab.run(["true"]).with(options);
        match traced(lab, &["-e", &rule], run) {
            Ok((outcome, _)) => none_with(&outcome, &limit)?,
            Err(error) if error.is::<CannotRun>() => {} // no strace here: the rest is worth a check, too
            Err(error) => return Err(error),
        }
    }
    // And one that was ended, by a signal to it or to run.
    let mut run = idle(lab, &options)?;
    let cgroups = hierarchy::of_container(run.container()?)?;
    let outcome = run.kill_command()?;
    hierarchy::all_gone(&outcome.line, &cgroups)?;
    let wait = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = lab.sh(wait).with(options).start()?;
    run.wrote("ready")?;
    let cgroups = hierarchy::of_container(run.container()?)?;
    run.signal(Signal::SIGTERM);
    let outcome = run.finish()?;
    outcome.exits(5)?;
    hierarchy::all_gone(&outcome.line, &cgroups)
}

fn cgroup_leftover(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    lab.runtime_was_killed();
    let options = ["-m", "100m"];
    let mut living = idle(lab, &options)?;
    let kept = own_cgroup(&mut living, &hierarchy)?;
    let mut killed = idle(lab, &options)?;
    let left = hierarchy::of_container(killed.container()?)?;
    let container = killed.container()?;
    killed.kill_whole()?;
    killed.finish()?;
    see::wait_for(see::SOON, || Ok((!container.lives()).then_some(())))?;
    let outcome = lab.run(["true"]).with(options).finish()?;
    outcome.succeeds()?;
    hierarchy::all_gone(&outcome.line, &left)?;
    see::same(&outcome.line, "the cgroup of a running container:", true, kept.exists())?;
    living.kill_command().map(drop)
}

fn cgroup_with_subgroups(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    let mut run = idle(lab, &["-m", "100m"])?;
    let own = own_cgroup(&mut run, &hierarchy)?;
    // Whoever makes them: it is all the same to the kernel.
    for below in ["a/b", "c"] {
        fs::create_dir_all(own.join(below)).context("making a cgroup in the container's")?;
    }
    let cgroups = hierarchy::of_container(run.container()?)?;
    let outcome = run.kill_command()?;
    outcome.exits(137)?.complains("")?;
    hierarchy::all_gone(&outcome.line, &cgroups)
}

fn cgroup_parent_gone(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    let mut run = idle(lab, &["-m", "100m"])?;
    let own = own_cgroup(&mut run, &hierarchy)?;
    let outcome = run.kill_command()?;
    hierarchy.parent_goes(&outcome.line, own.parent().context("a cgroup without a parent")?)
}

fn twenty_limited(lab: &Lab) -> Result<()> {
    hierarchy::required("memory")?;
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once, the image, is made before
    let limit = own_limit(lab);
    // Short ones: that the last one removes the parent while the next one is about to use it is what
    // is hard here.
    for _ in 0..5 {
        let start = |_| lab.run(["true"]).with(["-m", &limit]).start();
        for run in (0..20).map(start).collect::<Result<Vec<_>>>()? {
            let outcome = run.finish()?;
            outcome.succeeds()?;
        }
    }
    none_with(&lab.run(["true"]).finish()?, &limit)
}

fn controller_missing(lab: &Lab) -> Result<()> {
    // On the check's own host, where the cgroup file systems can be taken away.
    for mount in mounts::table()?.iter().rev().filter(|mount| mount.filesystem.starts_with("cgroup")) {
        umount2(mount.point.as_str(), MntFlags::MNT_DETACH)?;
    }
    lab.arranged()?;
    let directory = lab.folder("here")?;
    for (options, controller) in [
        (["-m", "100m"], "memory"),
        (["--cpu-shares", "512"], "cpu"),
        (["--cpus", "0.5"], "cpu"),
        (["--cpuset-cpus", "0"], "cpuset"),
        (["--pids-limit", "20"], "pids"),
    ] {
        let outcome = lab.sh("echo ran").with(options).inside(&directory).finish()?;
        outcome.refuses(&[125])?.mentions(controller)?;
        let written: Vec<_> = fs::read_dir(&directory)?.flatten().map(|entry| entry.path()).collect();
        see::same(&outcome.line, "files in the current directory:", Vec::new(), written)?;
    }
    lab.sh("echo ran").finish()?.succeeds()?.prints("ran\n")?;
    Ok(())
}

fn cgroup_fails(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    // The directory of all containers, as another one would have made it: then it is the own one that fails.
    let parent = hierarchy.point().join("byhand");
    let made = fs::create_dir(&parent).is_ok();
    // No directory can be made in a read-only hierarchy.
    let refused = bind(hierarchy.point(), hierarchy.point())
        .and_then(|()| rebind(hierarchy.point(), MsFlags::MS_RDONLY))
        .and_then(|()| lab.arranged())
        .and_then(|()| lab.sh("echo ran").with(["-m", "100m"]).finish()?.refuses(&[125]).map(drop));
    umount2(hierarchy.point(), MntFlags::MNT_DETACH)?;
    if made {
        let _ = fs::remove_dir(parent); // another run may have, or may be in it
    }
    lab.arranged()?;
    refused
}
