//! `pause`, `top`, `stats`, and the shell's completion.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "pause",
        Lifecycle,
        "pause stops all processes of a container, ps says so, and unpause lets them go on.",
        pause,
    ),
    Check::new(
        "pause-refused",
        Lifecycle,
        "pause and unpause refuse what is paused already, or is not, or does not run.",
        refused,
    ),
    Check::new("pause-ends", Lifecycle, "A paused container can be stopped, killed and removed.", ends),
    Check::new(
        "pause-keeper-killed",
        Lifecycle,
        "If the keeper of a paused container is killed, the next command takes the container away.",
        keeper_killed,
    ),
    Check::new(
        "top",
        Lifecycle,
        "top lists the processes of a container, those of exec too, by the host's numbers.",
        top,
    ),
    Check::new(
        "stats",
        Lifecycle,
        "stats --no-stream tells of the CPU, the memory and the threads that a container uses.",
        stats,
    ),
    Check::new("completion", Lifecycle, "completion prints scripts that bash and zsh take.", completion),
];

/// A container that counts, a hundred times in a second, in a file.
fn counting(lab: &Lab) -> Result<Kept<'_>> {
    let script = "while :; do n=$((n+1)); echo $n > /count.new; mv /count.new /count; sleep 0.01; done";
    let one = lab.kept(["sh", "-c", script]).detach()?;
    let begun = || Ok((count(&one)? > 2).then_some(()));
    wait_for(SOON, begun)?.ok_or_else(|| one.differs("a file /count in the container", "none"))?;
    Ok(one)
}

fn count(one: &Kept<'_>) -> Result<u64> {
    let text = fs::read_to_string(one.process()?.file("root/count")).unwrap_or_default();
    Ok(text.trim().parse().unwrap_or(0))
}

fn pause(lab: &Lab) -> Result<()> {
    let one = counting(lab)?;
    lab.says("pause", [one.id()], &format!("{}\n", one.id()))?;
    let before = count(&one)?;
    sleep(Duration::from_millis(300));
    see::same(one.line(), "after pause, what the container counts:", before, count(&one)?)?;
    see::same(one.line(), "the State of ps:", "paused".to_string(), one.state()?)?;
    let status = one.status()?;
    if !status.starts_with("Up ") || !status.ends_with(" (Paused)") {
        return Err(one.differs("\"Up … (Paused)\" in ps", format!("{status:?}")));
    }
    see::same(one.line(), "inspect's State.Paused:", true, one.inspected()?["State"]["Paused"] == true)?;
    lab.says("unpause", [one.id()], &format!("{}\n", one.id()))?;
    let more = || Ok((count(&one)? > before + 2).then_some(()));
    wait_for(SOON, more)?
        .ok_or_else(|| one.differs("a container that goes on after unpause", "it does not"))?;
    one.becomes("running")
}

fn refused(lab: &Lab) -> Result<()> {
    let one = counting(lab)?;
    let other = counting(lab)?;
    lab.refuses("unpause", [one.id()], "not paused")?;
    lab.says("pause", [one.id()], &format!("{}\n", one.id()))?;
    lab.refuses("pause", [one.id()], "already paused")?;
    // What fails for one keeps none of the others from their turn.
    let outcome = lab.call("pause", [one.id(), "nobody", other.id()]).finish()?;
    outcome.exits(1)?.prints(format!("{}\n", other.id()))?.mentions("nobody")?;
    other.becomes("paused")?;
    lab.says("unpause", [one.id(), other.id()], &format!("{}\n{}\n", one.id(), other.id()))?;
    one.process()?.signal(Signal::SIGKILL);
    one.exits(137)?;
    lab.refuses("pause", [one.id()], "not running")
}

fn ends(lab: &Lab) -> Result<()> {
    for (verb, options, status) in [("stop", ["-t", "20"], 9), ("kill", ["-s", "KILL"], 137)] {
        let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
        let one = lab.kept(["sh", "-c", script]).detach()?;
        one.wrote("ready")?;
        lab.says("pause", [one.id()], &format!("{}\n", one.id()))?;
        lab.call(verb, [options[0], options[1], one.id()]).finish()?.succeeds()?;
        one.exits(status)?;
    }
    let one = counting(lab)?;
    lab.says("pause", [one.id()], &format!("{}\n", one.id()))?;
    let process = one.process()?;
    one.remove()?;
    see::same("rm -f of a paused container", "process 1 to live on:", false, process.lives())
}

fn keeper_killed(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let one = counting(lab)?;
    lab.says("pause", [one.id()], &format!("{}\n", one.id()))?;
    let process = one.process()?;
    one.keeper()?.signal(Signal::SIGKILL);
    let gone = || {
        lab.run(["true"]).finish()?.succeeds()?;
        Ok((!process.lives()).then_some(()))
    };
    wait_for(SOON, gone)?.ok_or_else(|| one.differs("no process after the next run", process.command()))?;
    one.exits(137)?;
    one.remove()?;
    // And of one that dies with its run.
    let run = lab.kept(["sleep", "1000"]).start()?;
    let runs = || Ok(lab.listed()?.iter().any(|one| one["State"] == "running").then_some(()));
    wait_for(SOON, runs)?.ok_or_else(|| run.differs("a container in ps", "none"))?;
    let two = lab.only_kept()?;
    let process = two.process()?;
    lab.says("pause", [two.id()], &format!("{}\n", two.id()))?;
    run.runtime().signal(Signal::SIGKILL);
    run.finish()?;
    let gone = wait_for(SOON, || Ok((!process.lives()).then_some(())))?;
    gone.ok_or_else(|| two.differs("the end of its process 1", format!("{} lives", process.0)))?;
    two.exits(137)
}

fn top(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "sleep 996 & wait"]).detach()?;
    let mut running = lab.call("exec", [one.id(), "sleep", "995"]).start()?;
    let of = |command: &str| {
        let all = lab.mark().processes();
        all.iter().find(|process| process.command() == command).map(|process| process.0)
    };
    wait_for(SOON, || Ok(of("sleep 996").and(of("sleep 995"))))?;
    let outcome = lab.call("top", [one.id()]).finish()?;
    outcome.succeeds()?;
    let text = outcome.output();
    let head: Vec<_> = text.lines().next().unwrap_or_default().split_whitespace().collect();
    let column = head.iter().position(|name| *name == "PID");
    let column = column.ok_or_else(|| outcome.differs("a column PID"))?;
    let numbers: Vec<_> =
        text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(column)?.parse().ok()).collect();
    let ours = lab.mark().processes();
    let of =
        |command: &str| ours.iter().find(|process| process.command() == command).map(|process| process.0);
    let expected = [Some(one.process()?.0), of("sleep 996"), of("sleep 995")];
    if !expected.iter().all(|number| number.is_some_and(|number| numbers.contains(&number))) {
        return Err(outcome.differs(format!("the numbers {expected:?} among those of top")));
    }
    let ours = lab.mark().processes();
    let strangers = numbers.iter().any(|number| !ours.iter().any(|process| process.0 == *number));
    see::same(&outcome.line, "processes of others in top:", false, strangers)?;
    see::same(&outcome.line, "the command in top:", true, text.contains("sleep 996"))?;
    running.ended()?;
    one.process()?.signal(Signal::SIGKILL);
    one.exits(137)?;
    lab.refuses("top", [one.id()], "not running")
}

fn stats(lab: &Lab) -> Result<()> {
    let hungry = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); while :; do :; done";
    let busy = lab.kept(["sh", "-c", hungry]).with(["-m", "200m"]).detach()?;
    let idle = lab.kept(["sleep", "1000"]).detach()?;
    let full = || {
        let outcome = lab.call("stats", ["--no-stream"]).finish()?;
        outcome.succeeds()?;
        let text = outcome.output();
        let row = |one: &Kept<'_>| -> Option<Vec<String>> {
            let line = text.lines().find(|line| line.starts_with(one.id()))?;
            Some(
                line.split("  ")
                    .map(|cell| cell.trim().to_string())
                    .filter(|cell| !cell.is_empty())
                    .collect(),
            )
        };
        let number = |cell: &str| cell.trim_end_matches('%').parse::<f64>().unwrap_or(-1.0);
        let holds = |row: &[String], least: f64, most: f64, limit: &str, memory: &str| {
            let cell = |at: usize| row.iter().rev().nth(at).map_or("", String::as_str); // a name may be missing
            (least..=most).contains(&number(cell(3)))
                && cell(2).ends_with(limit)
                && cell(2).contains(memory)
                && cell(0) == "1"
        };
        let right = row(&busy).is_some_and(|row| holds(&row, 5.0, 110.0, " / 200MiB", "MiB / "))
            && row(&idle).is_some_and(|row| holds(&row, 0.0, 1.0, "GiB", "iB / "));
        Ok(right.then_some(()))
    };
    if wait_for(SOON * 3 / 2, full)?.is_none() {
        let outcome = lab.call("stats", ["--no-stream"]).finish()?;
        return Err(
            outcome.differs("5 to 110 % of a CPU, some MiB of 200 and 1 thread; and a row of nearly nothing")
        );
    }
    let head = lab.call("stats", ["--no-stream", idle.id()]).finish()?;
    let names = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS"];
    if !names.iter().all(|name| head.output().contains(name)) || head.output().lines().count() != 2 {
        return Err(head.differs(format!("a row below {names:?}")));
    }
    Ok(())
}

fn completion(lab: &Lab) -> Result<()> {
    for shell in ["bash", "zsh"] {
        let outcome = lab.call("completion", [shell]).finish()?;
        outcome.succeeds()?;
        for command in ["run", "exec", "inspect", "unpause"] {
            if !outcome.output().contains(command) {
                return Err(outcome.differs(format!("a script that knows {command}")));
            }
        }
        let script = lab.path("script");
        fs::write(&script, &outcome.stdout)?;
        // Of the two, the one that is not there cannot be asked.
        let asked = Command::new(shell).arg("-n").arg(&script).stdin(Stdio::null()).output();
        let Ok(asked) = asked else { continue };
        see::same(&outcome.line, &format!("{shell} -n to take it:"), true, asked.status.success())?;
    }
    let path = lab.path("bash");
    let script = lab.call("completion", ["bash"]).finish()?;
    fs::write(&path, &script.stdout)?;
    // Whatever the name is: a script around a program need not have the program's.
    let line = format!(". {}; complete -p | grep .", see::quoted(&path));
    let told = Command::new("bash").args(["-c", &line]).output();
    told.map_or(Ok(()), |told| {
        see::same(&script.line, "complete -p to know it:", true, told.status.success())
    })
}
