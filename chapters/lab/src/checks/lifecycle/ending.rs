//! How a container ends, and what is known of it then: `wait`, `stop`, `kill`.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "status-recorded",
        Lifecycle,
        "A container's exit status is kept with it, its own or 137, of one that run waited for too.",
        recorded,
    ),
    Check::new(
        "keeper-killed",
        Lifecycle,
        "When who keeps a container is killed, the container dies too, and is never shown as up: Exited (137).",
        keeper_killed,
    ),
    Check::new(
        "wait-statuses",
        Lifecycle,
        "wait prints the status of each, one a line, when all have ended.",
        wait,
    ),
    Check::new(
        "stop-trap",
        Lifecycle,
        "stop sends SIGTERM, and prints what was typed; the command's own status counts.",
        trap,
    ),
    Check::new(
        "stop-late",
        Lifecycle,
        "What SIGTERM does not end, stop -t ends by SIGKILL when the time is over, not before.",
        late,
    ),
    Check::new(
        "stop-options",
        Lifecycle,
        "run --stop-signal and --stop-timeout say how stop does it.",
        options,
    ),
    Check::new(
        "stop-ended",
        Lifecycle,
        "stop of one that has ended is no error: 0; one that nobody knows is, and the others stop.",
        ended,
    ),
    Check::new("stop-several", Lifecycle, "stop of several waits for all at once.", several),
    Check::new("kill-signal", Lifecycle, "kill sends SIGKILL, or the signal of -s, by name or number.", kill),
    Check::new(
        "kill-ended",
        Lifecycle,
        "kill of one that has ended is an error, 1, and so is a signal that there is not.",
        kill_ended,
    ),
];

fn recorded(lab: &Lab) -> Result<()> {
    let own = lab.kept(["sh", "-c", "exit 7"]).detach()?;
    let killed = lab.kept(["sleep", "1000"]).detach()?;
    killed.process()?.signal(Signal::SIGKILL);
    let by_signal = lab.kept(["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"]).detach()?;
    own.exits(7)?;
    killed.exits(137)?;
    by_signal.exits(143)?;
    lab.kept(["sh", "-c", "exit 5"]).with(["--name", "waited-for"]).finish()?.exits(5)?;
    lab.says("wait", ["waited-for"], "5\n")?;
    lab.says("rm", ["waited-for"], "waited-for\n")?;
    // It ends by itself just when whoever it belongs to is killed; who keeps it hears of both at once.
    lab.runtime_was_killed();
    [own, killed, by_signal].into_iter().try_for_each(Kept::remove)?;
    let script = "trap 'exit 6' USR1; echo ready; while :; do sleep 0.02; done";
    let mut run = lab.kept(["sh", "-c", script]).start()?;
    run.wrote("ready")?;
    let late = lab.only_kept()?;
    let (keeper, process) = (late.keeper()?, late.process()?);
    keeper.halt()?;
    process.signal(Signal::SIGUSR1);
    let ended = || Ok((!process.lives()).then_some(()));
    wait_for(SOON, ended)?.ok_or_else(|| late.differs("its end", "it goes on"))?;
    run.runtime().signal(Signal::SIGKILL);
    run.finish()?;
    keeper.signal(Signal::SIGCONT);
    late.exits(6)
}

/// Waits until this has ended.
fn gone(one: &Kept<'_>, process: Process) -> Result<()> {
    let gone = wait_for(SOON, || Ok((!process.lives()).then_some(())))?;
    gone.ok_or_else(|| one.differs("the end of its process 1", format!("{} lives", process.0)))
}

fn keeper_killed(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let one = lab.kept(["sh", "-c", "echo once >> /file; wc -l < /file; exec sleep 1000"]).detach()?;
    one.wrote("1\n")?;
    let process = one.process()?;
    let waits = lab.call("wait", [one.id()]).start()?;
    one.keeper()?.signal(Signal::SIGKILL);
    gone(&one, process)?;
    one.exits(137)?;
    waits.finish()?.succeeds()?.prints("137\n")?;
    lab.says("ps", ["-q"], "")?;
    lab.says("stop", [one.id()], &format!("{}\n", one.id()))?;
    // It is a container like others: it can be started again.
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    one.wrote("2\n")?;
    let process = one.process()?;
    one.keeper()?.signal(Signal::SIGKILL);
    gone(&one, process)?;
    lab.says("rm", [one.id()], &format!("{}\n", one.id()))?;
    // With --rm, the next command removes it.
    let other = lab.kept(["sleep", "1000"]).with(["--rm", "--name", "other"]).detach()?;
    let process = other.process()?;
    other.keeper()?.signal(Signal::SIGKILL);
    gone(&other, process)?;
    other.becomes("none")?;
    lab.run(["true"]).with(["--name", "other"]).finish()?.succeeds()?;
    see::same("kill -9 of the keeper, and a run", "what is left:", Vec::new(), lab.containers())
}

fn wait(lab: &Lab) -> Result<()> {
    let one = lab.kept(["true"]).detach()?;
    one.exits(0)?;
    let two =
        lab.kept(["sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.02; done"]).detach()?;
    let three = lab.kept(["sleep", "1000"]).detach()?;
    two.wrote("ready")?;
    lab.says("wait", [one.id()], "0\n")?; // ended already
    let mut waits = lab.call("wait", [one.id(), two.id(), three.id()]).start()?;
    let other = lab.call("wait", [two.id()]).start()?; // two may wait for the same
    std::thread::sleep(Duration::from_millis(100));
    if waits.ended()?.is_some() {
        return Err(waits.finish()?.differs("no end before the containers'"));
    }
    two.process()?.signal(Signal::SIGUSR1);
    three.process()?.signal(Signal::SIGKILL);
    waits.finish()?.succeeds()?.prints("0\n7\n137\n")?;
    other.finish()?.succeeds()?.prints("7\n")?;
    let some = lab.call("wait", [one.id(), "nobody", two.id()]).finish()?;
    some.exits(1)?.mentions("nobody")?.prints("0\n7\n").map(drop)
}

/// A command that ends with 3 on SIGTERM.
const TRAP: &str = "trap 'echo got-TERM; exit 3' TERM; echo ready; while :; do sleep 0.02; done";

/// A command that only tells of it.
const TOUGH: &str = "trap 'echo got-TERM' TERM; echo ready; while :; do sleep 0.02; done";

fn trap(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", TRAP]).with(["--name", "one"]).detach()?;
    one.wrote("ready")?;
    let begin = Instant::now();
    let prefix = &one.id()[..8];
    lab.says("stop", [prefix], &format!("{prefix}\n"))?;
    if begin.elapsed() >= Duration::from_secs(10) {
        return Err(one.differs("stop to be over when the container is", format!("{:?}", begin.elapsed())));
    }
    // Not soon, but now: stop has waited for it.
    see::same("stop", "the State in ps -a:", "exited".to_string(), one.state()?)?;
    one.exits(3)?;
    see::same("stop", "what it wrote:", "ready\ngot-TERM\n".to_string(), one.logs()?.output())?;
    lab.says("wait", ["one"], "3\n")
}

fn late(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", TOUGH]).detach()?;
    one.wrote("ready")?;
    let process = one.process()?;
    let begin = Instant::now();
    lab.says("stop", ["-t", "1", one.id()], &format!("{}\n", one.id()))?;
    let took = begin.elapsed();
    if !(Duration::from_secs(1)..Duration::from_secs(10)).contains(&took) {
        return Err(one.differs("stop -t 1 to take a second", format!("{took:?}")));
    }
    see::same("stop -t 1", "process 1 to live on:", false, process.lives())?;
    one.exits(137)?;
    see::same("stop -t 1", "what it wrote:", "ready\ngot-TERM\n".to_string(), one.logs()?.output())?;
    // The kernel shields a process 1 that never thought of signals.
    let two = lab.kept(["sleep", "1000"]).detach()?;
    lab.says("stop", ["--time", "0", two.id()], &format!("{}\n", two.id()))?;
    two.exits(137)?;
    let three = lab.kept(["sleep", "1000"]).with(["--init"]).detach()?;
    lab.says("stop", [three.id()], &format!("{}\n", three.id()))?;
    three.exits(143)
}

fn options(lab: &Lab) -> Result<()> {
    let patient = lab.kept(["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done"]);
    let patient = patient.with(["--stop-timeout", "9223372036854775807"]).detach()?;
    patient.wrote("ready")?;
    lab.says("stop", [patient.id()], &format!("{}\n", patient.id()))?;
    patient.exits(3)?;
    let one = lab.kept([
        "sh",
        "-c",
        "trap 'exit 4' USR1; trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done",
    ]);
    let one = one.with(["--stop-signal", "USR1"]).detach()?;
    let two = lab.kept(["sh", "-c", TOUGH]).with(["--stop-timeout", "0"]).detach()?;
    one.wrote("ready")?;
    two.wrote("ready")?;
    let begin = Instant::now();
    lab.call("stop", [one.id(), two.id()]).finish()?.succeeds()?;
    if begin.elapsed() >= Duration::from_secs(10) {
        return Err(two.differs("--stop-timeout 0 to hold for stop", format!("{:?}", begin.elapsed())));
    }
    one.exits(4)?;
    two.exits(137)?;
    for bad in [["--stop-signal", "NONE"], ["--stop-signal", "99"], ["--stop-timeout", "soon"]] {
        lab.kept(["echo", "the command ran"]).with(bad).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn ended(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "exit 7"]).detach()?;
    one.exits(7)?;
    lab.says("stop", [one.id()], &format!("{}\n", one.id()))?;
    one.exits(7)?; // nothing has changed
    let two = lab.kept(["sh", "-c", TRAP]).detach()?;
    two.wrote("ready")?;
    let some = lab.call("stop", ["nobody", two.id()]).finish()?;
    some.exits(1)?.mentions("nobody")?.prints(format!("{}\n", two.id()))?;
    two.exits(3)
}

fn several(lab: &Lab) -> Result<()> {
    let all = (0..6).map(|_| lab.kept(["sleep", "1000"]).detach()).collect::<Result<Vec<_>>>()?;
    let words = ["-t", "1"].into_iter().chain(all.iter().map(Kept::id));
    let begin = Instant::now();
    let outcome = lab.call("stop", words).finish()?;
    let took = begin.elapsed();
    outcome.succeeds()?;
    let mut said: Vec<_> = outcome.output().lines().map(str::to_string).collect();
    let mut asked: Vec<_> = all.iter().map(|one| one.id().to_string()).collect();
    said.sort();
    asked.sort();
    see::same(&outcome.line, "those that it prints:", asked, said)?;
    if took >= Duration::from_secs(6) {
        return Err(
            outcome.differs(format!("one second for all of them, and not for each (it took {took:?})"))
        );
    }
    all.iter().try_for_each(|one| one.exits(137))
}

fn kill(lab: &Lab) -> Result<()> {
    let script =
        "trap 'echo got-USR1' USR1; trap 'echo got-HUP' HUP; echo ready; while :; do sleep 0.02; done";
    let one = lab.kept(["sh", "-c", script]).with(["--name", "one"]).detach()?;
    one.wrote("ready")?;
    let mut expected = "ready\n".to_string();
    for (signal, name) in [("USR1", "USR1"), ("SIGHUP", "HUP"), ("10", "USR1"), ("hup", "HUP")] {
        lab.says("kill", ["-s", signal, "one"], "one\n")?;
        expected += &format!("got-{name}\n");
        one.wrote(&expected)?;
    }
    lab.says("kill", ["--signal=USR1", "one"], "one\n")?;
    see::same("kill -s", "the State in ps -a:", "running".to_string(), one.state()?)?;
    let two = lab.kept(["sleep", "1000"]).detach()?;
    lab.says("kill", ["one", two.id()], &format!("one\n{}\n", two.id()))?;
    one.exits(137)?;
    two.exits(137)
}

fn kill_ended(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "exit 7"]).detach()?;
    one.exits(7)?;
    lab.refuses("kill", [one.id()], "not running")?;
    lab.refuses("kill", ["-s", "USR1", one.id()], "not running")?;
    one.exits(7)?;
    let two = lab.kept(["sleep", "1000"]).detach()?;
    for signal in ["NONE", "", "99", "-1"] {
        let option = format!("--signal={signal}");
        lab.call("kill", [option.as_str(), two.id()]).finish()?.refuses(&[1, 2, 125])?;
    }
    see::same(
        "kill with a signal that there is not",
        "the State in ps -a:",
        "running".to_string(),
        two.state()?,
    )
}
