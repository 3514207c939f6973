//! SIGKILL at system calls of the commands that come after `run`. Afterwards nothing is told wrongly, and the next command
//! works.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;

use anyhow::Result;
use nix::libc::{SYS_mount, SYS_pivot_root};

use super::calls::{self, Call, all_right, part_of};
use super::own_cgroups::{OwnCgroups, same_paths};
use super::tracer::{self, Seen, What, Who};
use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::{Lab, Run};
use crate::trial::strace;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "exec-killed",
        Lifecycle,
        "If exec is killed before any of its system calls, nothing of it stays, and the container runs on.",
        |lab| sweep(lab, &EXEC),
    ),
    Check::new(
        "stop-killed",
        Lifecycle,
        "If stop is killed before any of its system calls, the next one ends the container, with its own status.",
        |lab| sweep(lab, &STOP),
    ),
    Check::new(
        "start-killed",
        Lifecycle,
        "If start is killed before any of its system calls, ps tells how the container ended, and the next one starts it.",
        |lab| sweep(lab, &START),
    ),
    Check::new(
        "start-keeper-killed",
        Lifecycle,
        "If who keeps a started container is killed before any of its system calls, the container ends, and the next start begins it.",
        |lab| sweep(lab, &START_KEPT),
    ),
    Check::new(
        "rm-killed",
        Lifecycle,
        "If rm is killed before any of its system calls, all of the container is there or none of it, and the next one removes it.",
        |lab| sweep(lab, &RM),
    ),
    Check::new(
        "rename-killed",
        Lifecycle,
        "If rename is killed before any of its system calls, the container has one of the two names, and the other is free.",
        |lab| sweep(lab, &RENAME),
    ),
    Check::new(
        "cp-killed",
        Lifecycle,
        "If cp is killed before any of its system calls, nothing of it stays, and the next one copies.",
        |lab| sweep(lab, &CP),
    ),
    Check::new(
        "early-entry",
        Lifecycle,
        "While a container is on its way up, exec and cp lead nowhere: its process still has the host's files in sight.",
        early,
    ),
];

/// So many calls of each command at most: each costs a container, and half a dozen commands.
const MOST: usize = 12;

/// A command, and what it is tried on.
struct Trial {
    command: for<'a> fn(&'a Lab) -> Run<'a>,
    /// A container called `one`.
    make: for<'a> fn(&'a Lab) -> Result<Kept<'a>>,
    /// What holds of it when the command has been killed, or has not.
    after: fn(&Lab, &Kept<'_>) -> Result<()>,
    /// Which of its processes are killed.
    who: &'static [Who],
}

fn sweep(lab: &Lab, trial: &Trial) -> Result<()> {
    strace::required()?;
    fs::write(lab.path("file"), "brought\n")?;
    let cgroups = OwnCgroups::new(lab, &["memory", "freezer"])?;
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once is made now
    let before = cgroups.list();
    let one = (trial.make)(lab)?;
    let seen = tracer::carry_out((trial.command)(lab), None, false, &|| {})?;
    seen.outcome.exits(0)?;
    (trial.after)(lab, &one)?;
    drop(one);
    let mut calls = calls::own(lab, &seen.calls, &calls::names(lab, &[], lab.call("ps", ["-a"]))?)?;
    calls.retain(|call| trial.who.contains(&call.who));
    // What waits makes the same calls now more often, now less: of these the first and the last are enough.
    let calls = calls::some_of_each(&calls, 2);
    let step = calls.len().div_ceil(MOST).max(1);
    let calls = part_of(&calls.iter().skip(step / 2).step_by(step).cloned().collect::<Vec<_>>())?;
    let (mut hits, mut wrong) = (0, Vec::new());
    for call in &calls {
        match one_fault(lab, trial, call) {
            Ok(hit) => hits += usize::from(hit),
            Err(error) => wrong.push((call, error)),
        }
        let left =
            nothing_is_left(lab).and_then(|()| same_paths("rm -f", "the cgroups", &before, &cgroups.list()));
        left.unwrap_or_else(|error| wrong.push((call, error)));
    }
    println!("{}: {} calls, {hits} of them reached", seen.outcome.line, calls.len());
    all_right(&seen.outcome.line, &wrong)?;
    // Whoever waits does that now more often, now less.
    see::same("the sweep", "most of the calls reached:", true, hits * 4 >= calls.len() * 3)
}

/// Kills it on the way. Returns whether it got that far.
fn one_fault(lab: &Lab, trial: &Trial, call: &Call) -> Result<bool> {
    let one = (trial.make)(lab)?;
    let Seen { outcome, hit, .. } =
        tracer::carry_out((trial.command)(lab), Some(call.fault(What::Kills)), false, &|| {})?;
    match (call.who, outcome.status.code()) {
        (Who::Parent, code) if hit => see::same(&outcome.line, "its exit status", None, code)?,
        (_, Some(0 | 137)) => {} // what helps may be killed after its work, or along with the command
        _ => drop(outcome.refuses(&[1, 125, 126])?),
    }
    (trial.after)(lab, &one)?;
    Ok(hit)
}

/// Its names are free, and the next container starts; and of that one nothing stays.
fn nothing_is_left(lab: &Lab) -> Result<()> {
    for name in ["one", "two"] {
        let next = lab.run(["true"]).with(["--name", name]).finish()?;
        next.succeeds()?;
        see::same(&next.line, "containers left:", Vec::new(), lab.containers())?;
    }
    Ok(())
}

/// Waits until so many processes are left of all that this check has started.
fn are_left(lab: &Lab, one: &Kept<'_>, count: usize) -> Result<()> {
    let there = || Ok((lab.mark().processes().len() == count).then_some(()));
    wait_for(SOON, there)?.ok_or_else(|| {
        let seen: Vec<_> = lab.mark().processes().iter().map(|process| process.command()).collect();
        one.differs(format!("{count} processes in the end"), format!("{seen:?}"))
    })
}

const EXEC: Trial = Trial {
    command: |lab| lab.call("exec", ["-e", "COLOUR=green", "one", "sh", "-c", "echo line"]),
    make: |lab| lab.kept(["sleep", "1000"]).with(["--name", "one"]).detach(),
    after: |lab, one| {
        // Its keeper may have others beside it, but whatever belongs to exec has the words that it was called with.
        let is_its = |process: &Process| process.command().contains("echo line");
        let left = || lab.mark().processes().iter().filter(|process| is_its(process)).count();
        if wait_for(SOON, || Ok((left() == 0).then_some(())))?.is_none() {
            return Err(one.differs("no process of exec in the end", format!("{} of them", left())));
        }
        see::same(one.line(), "the State in ps -a:", "running".to_string(), one.state()?)?;
        lab.says("exec", ["one", "echo", "fine"], "fine\n")
    },
    who: &[Who::Parent, Who::Helper],
};

const STOP: Trial = Trial {
    command: |lab| lab.call("stop", ["one"]),
    make: |lab| {
        let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done";
        let one = lab.kept(["sh", "-c", script]).with(["--name", "one", "--restart", "always"]).detach()?;
        one.wrote("ready")?;
        Ok(one)
    },
    after: |lab, one| {
        let is_true = || Ok((one.state()? != "running" || one.process().is_ok()).then_some(()));
        wait_for(SOON, is_true)?.ok_or_else(|| one.differs("running, with a process", "none"))?;
        lab.says("stop", ["one"], "one\n")?;
        are_left(lab, one, 0)?;
        one.exits(3)
    },
    who: &[Who::Parent, Who::Helper],
};

const START: Trial = Trial {
    command: |lab| lab.call("start", ["one"]),
    make: |lab| {
        let one = lab.kept(["sh", "-c", "echo line; exit 7"]).with(["--name", "one"]).detach()?;
        one.exits(7)?;
        Ok(one)
    },
    after: |lab, one| {
        are_left(lab, one, 0)?;
        one.exits(7)?;
        let lines = one.logs()?.output();
        see::same(one.line(), "only whole lines:", String::new(), lines.replace("line\n", ""))?;
        lab.call("start", ["-a", "one"]).finish()?.exits(7)?.prints("line\n")?;
        see::same("start -a one", "all that it wrote:", format!("{lines}line\n"), one.logs()?.output())
    },
    who: &[Who::Parent],
};

const START_KEPT: Trial = Trial {
    command: START.command,
    make: START.make,
    after: |lab, one| {
        are_left(lab, one, 0)?;
        one.becomes("exited")?;
        let status = one.status()?;
        if !["Exited (7) ", "Exited (137) "].iter().any(|known| status.starts_with(known)) {
            return Err(one.differs("Exited (7) or Exited (137) in ps -a", status));
        }
        lab.call("start", ["-a", "one"]).finish()?.exits(7)?.prints("line\n")?;
        one.exits(7)
    },
    who: &[Who::Helper],
};

const RM: Trial = Trial {
    command: |lab| lab.call("rm", ["one"]),
    make: START.make,
    after: |lab, one| {
        match one.status()? {
            ended if ended.starts_with("Exited (7) ") => {
                lab.call("start", ["-a", "one"]).finish()?.exits(7)?.prints("line\n")?;
                lab.says("rm", ["one"], "one\n")?;
            }
            gone if gone == "none" => lab.refuses("rm", ["one"], "one")?,
            other => return Err(one.differs("Exited (7), or nothing in ps -a", other)),
        }
        see::same(one.line(), "the State in ps -a:", "none".to_string(), one.state()?)
    },
    who: &[Who::Parent],
};

const RENAME: Trial = Trial {
    command: |lab| lab.call("rename", ["one", "two"]),
    make: |lab| {
        let one = lab.kept(["true"]).with(["--name", "one"]).detach()?;
        one.exits(0)?;
        Ok(one)
    },
    after: |lab, one| {
        let name = one.listed()?.and_then(|one| one["Names"].as_str().map(str::to_string));
        let again = lab.call("rename", [one.id(), "two"]).finish()?;
        match name.as_deref() {
            Some("one") => again.succeeds()?,
            Some("two") => again.refuses(&[1])?.mentions("already")?,
            other => return Err(one.differs("the name one or two", format!("{other:?}"))),
        };
        lab.run(["true"]).with(["--name", "one"]).finish()?.succeeds()?;
        lab.says("rm", ["two"], "two\n")
    },
    who: &[Who::Parent],
};

const CP: Trial = Trial {
    command: |lab| lab.call("cp", [lab.path("file").as_os_str(), "one:/in".as_ref()]),
    make: |lab| {
        let one = lab.kept(["cat", "/in"]).with(["--name", "one"]).detach()?;
        one.exits(1)?;
        Ok(one)
    },
    after: |lab, one| {
        are_left(lab, one, 0)?;
        lab.host_unchanged(one.line())?;
        one.exits(1)?;
        (CP.command)(lab).finish()?.succeeds()?;
        lab.call("start", ["-a", "one"]).finish()?.succeeds()?.prints("brought\n").map(drop)
    },
    who: &[Who::Parent, Who::Helper],
};

/// Whoever starts a container waits before its mounts are made; others want to get in.
fn early(lab: &Lab) -> Result<()> {
    strace::required()?;
    let host = lab.folder("host")?;
    fs::write(host.join("secret"), "the host's\n")?;
    fs::write(lab.path("file"), "brought\n")?;
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once is made now
    let start = || lab.kept(["true"]).with(["--name", "one"]);
    let all = calls::names(lab, &[], lab.call("ps", ["-a"]))?;
    // The third is one of which nobody has written down how it ended.
    for command in ["run", "start", "start one whose keeper was killed"] {
        let run = || match command {
            "run" => start().with(["-d"]),
            _ => lab.call("start", ["one"]),
        };
        let begin = || {
            if command == "run" {
                return Ok(None);
            }
            let one = start().detach()?;
            one.exits(0)?;
            let status = lab.place_of_containers().join(one.id()).join("status");
            if command != "start" && status.exists() {
                fs::remove_file(status)?;
            }
            Ok::<_, anyhow::Error>(Some(one))
        };
        let before = begin()?;
        let seen = tracer::carry_out(run(), None, false, &|| {})?;
        seen.outcome.exits(0)?;
        lab.call("rm", ["-f", "one"]).finish()?.exits(0)?;
        drop(before);
        let mut calls = calls::own(lab, &seen.calls, &all)?;
        calls.retain(|call| {
            call.who == Who::Child && [SYS_mount, SYS_pivot_root].contains(&(call.call as i64))
        });
        let calls = calls::some_of_each(&calls, 2);
        see::same(&seen.outcome.line, "mounts, and pivot_root, made by process 1:", true, calls.len() > 1)?;
        for call in &calls {
            let before = begin()?;
            let entered = RefCell::new(Vec::new());
            let enter = || {
                let cat =
                    ["one".as_ref(), "cat".as_ref(), host.join("secret").as_os_str()].map(ToOwned::to_owned);
                let mut target = OsString::from("one:");
                target.push(host.join("brought"));
                let brought = [lab.path("file").into_os_string(), target];
                entered.borrow_mut().push(lab.call("exec", cat).finish());
                entered.borrow_mut().push(lab.call("cp", brought).finish());
            };
            let seen = tracer::carry_out(run(), Some(call.fault(What::Waits)), false, &enter)?;
            seen.outcome.exits(0)?;
            see::same(&seen.outcome.line, &format!("to get to {}", call.described()), true, seen.hit)?;
            for outcome in entered.into_inner() {
                let outcome = outcome?;
                let did = format!("{} before {} of {}", outcome.line, call.described(), seen.outcome.line);
                see::same(&did, "its status to be 0:", false, outcome.status.success())?;
                see::same(&did, "what it printed:", String::new(), outcome.output())?;
            }
            see::same(
                &seen.outcome.line,
                "cp to have come to the host:",
                false,
                host.join("brought").exists(),
            )?;
            lab.call("rm", ["-f", "one"]).finish()?.exits(0)?;
            drop(before);
        }
    }
    Ok(())
}
