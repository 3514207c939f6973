//! `--restart`: a container that is started again.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;
use crate::trial::terminal::Terminal;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "policy-on-failure",
        Lifecycle,
        "--restart on-failure:N starts a failed command N times more, and counts; not one that ended with 0.",
        on_failure,
    ),
    Check::new(
        "policy-always",
        Lifecycle,
        "--restart always starts it again whatever the status, until stop or kill.",
        always,
    ),
    Check::new(
        "policy-pauses",
        Lifecycle,
        "The pause before each restart is longer than the one before.",
        pauses,
    ),
    Check::new(
        "policy-stopped-in-pause",
        Lifecycle,
        "In the pause stop, rm -f and wait find a container that is restarting, and need not wait for it.",
        in_the_pause,
    ),
    Check::new(
        "policy-keys",
        Lifecycle,
        "What is typed in the pause before a restart is for the next start, and a new size of the window, too.",
        keys,
    ),
    Check::new(
        "policy-bad",
        Lifecycle,
        "A policy that there is not, and one together with --rm, are refused with 125.",
        bad,
    ),
];

fn restarts(one: &Kept<'_>) -> Result<u64> {
    one.inspected()?["RestartCount"].as_u64().context("no RestartCount")
}

fn on_failure(lab: &Lab) -> Result<()> {
    let script = "echo try; echo once >> /file; [ $(wc -l < /file) -lt 9 ] && exit 6";
    let run = lab.kept(["sh", "-c", script]).with(["--restart", "on-failure:2", "--name", "one"]).finish()?;
    run.exits(6)?.prints("try\ntry\ntry\n")?; // run sees all of it
    let one = lab.only_kept()?;
    one.exits(6)?;
    see::same(&run.line, "RestartCount:", 2, restarts(&one)?)?;
    see::same(&run.line, "its log:", "try\ntry\ntry\n".to_string(), one.logs()?.output())?;
    one.remove()?;
    // Ended well at the third try: the same file system each time.
    let script = "echo once >> /file; [ $(wc -l < /file) -ge 3 ]";
    for policy in ["on-failure", "on-failure:0"] {
        let two = lab.kept(["sh", "-c", script]).with(["--restart", policy]).detach()?;
        let done = || Ok((two.state()? == "exited" && restarts(&two)? == 2).then_some(()));
        wait_for(SOON, done)?.ok_or_else(|| two.differs("the end after two restarts", "another"))?;
        two.exits(0)?;
    }
    // Nobody has asked.
    let three = lab.kept(["false"]).with(["--restart", "no"]).detach()?;
    three.exits(1)?;
    see::same(three.line(), "RestartCount:", 0, restarts(&three)?)
}

fn always(lab: &Lab) -> Result<()> {
    let script = "trap 'exit 3' TERM; echo once >> /file; n=$(wc -l < /file); echo \"try $n\"; [ $n -lt 3 ] && exit 0; while :; do sleep 0.02; done";
    let one = lab.kept(["sh", "-c", script]).with(["--restart", "always", "--name", "one"]).detach()?;
    one.wrote("try 3")?;
    see::same(one.line(), "RestartCount:", 2, restarts(&one)?)?;
    see::same(one.line(), "the State in ps -a:", "running".to_string(), one.state()?)?;
    one.process()?.signal(Signal::SIGKILL); // not by us, so it begins again
    one.wrote("try 4")?;
    lab.says("stop", ["one"], "one\n")?;
    one.exits(3)?;
    lab.says("start", ["one"], "one\n")?; // and keeps the policy
    one.wrote("try 5")?;
    see::same("start", "RestartCount:", 0, restarts(&one)?)?;
    one.process()?.signal(Signal::SIGKILL);
    one.wrote("try 6")?;
    lab.says("kill", ["one"], "one\n")?;
    one.exits(137)?;
    std::thread::sleep(Duration::from_millis(300));
    one.exits(137)?;
    see::same("kill", "its log to have a seventh try:", false, one.logs()?.output().contains("try 7"))
}

/// When each line was written, in seconds.
fn times(one: &Kept<'_>, lab: &Lab) -> Result<Vec<f64>> {
    let outcome = lab.call("logs", ["-t", one.id()]).finish()?;
    let of = |line: &str| {
        // 2026-11-24T14:56:29.767064755Z
        let clock = line.split_once('T')?.1.split_once('Z')?.0;
        let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
        Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
    };
    outcome.output().lines().map(|line| of(line).context("a line without a time")).collect()
}

fn pauses(lab: &Lab) -> Result<()> {
    // Docker: 100 ms, then twice as long each time. On a slow machine a start adds to each as much again, and a slow first
    // one as much as all the rest: one of three times has to be clear.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let pauses = five_tries(lab)?;
        if pauses[0] < 1.0 && pauses[3] > pauses[0] + 0.4 && pauses[3] > pauses[1] {
            return Ok(());
        }
        seen.push(pauses);
    }
    Err(see::differs("run --restart always", "pauses that grow", format!("{seen:?} seconds")))
}

/// The four pauses of a container that ends at once, in seconds.
fn five_tries(lab: &Lab) -> Result<Vec<f64>> {
    let one = lab.kept(["echo", "try"]).with(["--restart", "always"]).detach()?;
    let enough = || Ok((one.logs()?.output().lines().count() >= 5).then_some(()));
    wait_for(SOON, enough)?.ok_or_else(|| one.differs("five tries", "fewer"))?;
    let times = times(&one, lab)?;
    one.remove()?;
    Ok(times.windows(2).map(|two| (two[1] - two[0]).rem_euclid(86400.0)).collect())
}

fn in_the_pause(lab: &Lab) -> Result<()> {
    let failing = |name: &str| {
        let one = lab
            .kept(["sh", "-c", "echo try; exit 5"])
            .with(["--restart", "always", "--name", name])
            .detach()?;
        // 3.2 seconds is the next, long enough for two commands on a slow machine.
        let long = || Ok((one.logs()?.output().lines().count() >= 6).then_some(()));
        wait_for(SOON, long)?.ok_or_else(|| one.differs("six tries", "fewer"))?;
        one.becomes("restarting")?;
        Ok::<_, anyhow::Error>(one)
    };
    let one = failing("one")?;
    let status = one.status()?;
    see::same(one.line(), "the STATUS to begin so:", true, status.starts_with("Restarting (5) "))?;
    lab.says("stop", ["one"], "one\n")?;
    one.exits(5)?;
    one.remove()?;
    let two = failing("two")?;
    lab.says("rm", ["-f", "two"], "two\n")?;
    see::same(two.line(), "what is left:", Vec::new(), lab.containers())
}

fn keys(lab: &Lab) -> Result<()> {
    for options in ["-i", "-ti"] {
        let script = "echo once >> /file; n=$(wc -l < /file); echo \"try $n\"; [ $n -lt 5 ] && exit 1; \
                      read line; echo \"got $line\"; stty size; exit 0";
        let run = format!(
            "\"$RUNTIME\" run {options} --restart on-failure $IMAGE sh -c '{script}'; echo \"status $?\""
        );
        let mut terminal = Terminal::with_shell(lab, &["-c", &run])?;
        terminal.shows("try 4")?; // 800 ms is the next pause
        let one = lab.only_kept()?;
        let pauses =
            || Ok((one.state()? == "restarting" || one.logs()?.output().contains("try 5")).then_some(()));
        wait_for(SOON, pauses)?.ok_or_else(|| one.differs("a pause before the fifth try", "none"))?;
        terminal.resize(31, 99)?;
        terminal.types("a word\n")?;
        terminal.shows_unless("got a word", "status")?;
        if options == "-ti" {
            terminal.shows_unless("31 99", "status")?;
        }
        terminal.shows("status 0")?;
        one.remove()?;
    }
    // That there is no more to read holds for each start.
    let run = lab.kept(["sh", "-c", "cat; exit 1"]).with(["-i", "--restart", "on-failure:1"]);
    run.input("a word\n").finish()?.exits(1)?.prints("a word\n")?;
    lab.only_kept()?.remove()
}

fn bad(lab: &Lab) -> Result<()> {
    for policy in ["sometimes", "on-failure:", "on-failure:-1", "on-failure:many", "always:3", "no:1"] {
        let outcome = lab.kept(["echo", "the command ran"]).with(["--restart", policy]).finish()?;
        outcome.refuses(&[125])?;
    }
    let outcome = lab.kept(["echo", "the command ran"]).with(["--rm", "--restart", "always"]).finish()?;
    outcome.refuses(&[125])?.mentions("--rm")?;
    see::same(&outcome.line, "what is left:", Vec::new(), lab.containers())
}
