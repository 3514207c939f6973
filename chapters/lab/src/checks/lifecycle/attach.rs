//! `attach`: back to a container that one has left, and away from it again.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::checks::init::terminal::raw;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::running::Running;
use crate::trial::runtime::Lab;
use crate::trial::terminal::Terminal;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "attach-output",
        Lifecycle,
        "attach shows what is written from now on, and ends with the container's status; two can.",
        output,
    ),
    Check::new("attach-input", Lifecycle, "attach gives the container what it reads.", input),
    Check::new(
        "attach-signals",
        Lifecycle,
        "attach passes signals on; with --sig-proxy=false it ends by them, and the container lives.",
        signals,
    ),
    Check::new(
        "attach-killed",
        Lifecycle,
        "With attach no container dies, and no reader who is slow or gone holds it up.",
        killed,
    ),
    Check::new(
        "attach-keys",
        Lifecycle,
        "In a terminal, Ctrl-P Ctrl-Q leaves a container that runs on; attach comes back to it.",
        keys,
    ),
    Check::new("attach-ended", Lifecycle, "attach to one that does not run is an error: 1.", ended),
];

pub(crate) const CTRL_P: &str = "\x10";
pub(crate) const CTRL_Q: &str = "\x11";

/// It writes a line for SIGUSR1, and ends with 6 for SIGTERM.
const SCRIPT: &str = "trap 'echo got-USR1; echo err >&2' USR1; trap 'echo end; exit 6' TERM; echo ready; while :; do sleep 0.02; done";

/// Has it write until this one, which may have only begun, has seen it.
fn attached(one: &Kept<'_>, run: &Running) -> Result<()> {
    let seen = || {
        one.process()?.signal(Signal::SIGUSR1);
        std::thread::sleep(Duration::from_millis(50));
        Ok(String::from_utf8_lossy(&run.stdout()).contains("got-USR1").then_some(()))
    };
    wait_for(SOON, seen)?.ok_or_else(|| run.differs("what the container writes", "nothing"))
}

fn output(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", SCRIPT]).detach()?;
    one.wrote("ready")?;
    let (first, second) = (lab.call("attach", [one.id()]).start()?, lab.call("attach", [one.id()]).start()?);
    attached(&one, &first)?;
    attached(&one, &second)?;
    lab.says("stop", [one.id()], &format!("{}\n", one.id()))?;
    for outcome in [first.finish()?, second.finish()?] {
        outcome.exits(6)?;
        let (out, err) = (outcome.output(), outcome.error());
        if !out.ends_with("got-USR1\nend\n") || out.contains("ready") || !err.starts_with("err\n") {
            return Err(outcome.differs("what was written since, each stream apart"));
        }
    }
    one.exits(6)
}

fn input(lab: &Lab) -> Result<()> {
    // Until the first line something is to be seen, so that we know who watches.
    let script = "while :; do echo tick; sleep 0.02; done & while read line; do kill $! 2> /dev/null; wait $!; \
                  echo \"got $line\"; [ \"$line\" = end ] && exit 4; done; echo nothing more; exec sleep 1000";
    let one = lab.kept(["sh", "-c", script]).with(["-i"]).detach()?;
    // What one says and leaves does not end what it reads.
    let first = lab.call("attach", ["--no-stdin", one.id()]).start()?;
    let ticks = || Ok(first.stdout().starts_with(b"tick").then_some(()));
    wait_for(SOON, ticks)?.ok_or_else(|| first.differs("what the container writes", "nothing"))?;
    let second = lab.call("attach", [one.id()]).input("a word\nend\n").finish()?;
    let said = String::from_utf8_lossy(&second.exits(4)?.stdout).replace("tick\n", "");
    see::same(&second.line, "the lines but ticks:", "got a word\ngot end\n".to_string(), said)?;
    first.finish()?.exits(4)?;
    one.exits(4)
}

fn signals(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", SCRIPT]).detach()?;
    one.wrote("ready")?;
    let alone = lab.call("attach", ["--sig-proxy=false", one.id()]).start()?;
    attached(&one, &alone)?;
    alone.signal(Signal::SIGTERM);
    let mut alone = alone;
    let over = wait_for(SOON, || alone.ended())?;
    over.ok_or_else(|| alone.differs("the end of attach", "it goes on"))?;
    see::same(
        alone.line(),
        "the State in ps -a, after SIGTERM to attach:",
        "running".to_string(),
        one.state()?,
    )?;
    let passes = lab.call("attach", [one.id()]).start()?;
    attached(&one, &passes)?;
    passes.signal(Signal::SIGTERM);
    passes.finish()?.exits(6)?;
    one.exits(6)?;
    // The terminal is again as it was.
    let two = lab.kept(["sh", "-c", "echo ready; cat"]).with(["-it", "--name", "two"]).detach()?;
    two.wrote("ready")?;
    let script = "\"$RUNTIME\" attach --sig-proxy=false two; echo \"[$(stty -a | grep -c -- -icanon)]\"";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.types("a word\n")?;
    terminal.shows("a word\r\na word")?;
    let is_it = |process: &&Process| process.command().ends_with("attach --sig-proxy=false two");
    let attach = lab.mark().processes().iter().find(is_it).copied();
    attach.ok_or_else(|| two.differs("an attach", "none"))?.signal(Signal::SIGTERM);
    terminal.shows("[0]")
}

fn killed(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", SCRIPT]).detach()?;
    one.wrote("ready")?;
    let first = lab.call("attach", [one.id()]).start()?;
    attached(&one, &first)?;
    first.signal(Signal::SIGKILL);
    drop(first);
    let second = lab.call("attach", [one.id()]).start()?;
    attached(&one, &second)?;
    drop(second);
    see::same("kill -9 of attach", "the State in ps -a:", "running".to_string(), one.state()?)?;
    // One that stands still, while ten megabytes come.
    let script = "trap 'head -c 10000000 /dev/zero; echo; echo written; exit 0' TERM; trap 'echo got-USR1' USR1; echo ready; while :; do sleep 0.02; done";
    let two = lab.kept(["sh", "-c", script]).detach()?;
    two.wrote("ready")?;
    let slow = lab.call("attach", [two.id()]).start()?;
    attached(&two, &slow)?;
    slow.runtime().halt()?;
    two.process()?.signal(Signal::SIGTERM);
    two.exits(0)
}

fn keys(lab: &Lab) -> Result<()> {
    let attach = "\"$RUNTIME\" attach one; echo \"status $?\"; read line";
    let script = format!(
        "echo begin; read line; \"$RUNTIME\" run -ti --name one $IMAGE sh; echo \"status $?\"; read line; {attach}; {attach}"
    );
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.shows("begin")?;
    let before = terminal.modes()?;
    terminal.types("\n")?;
    terminal.shows("# ")?;
    let one = lab.only_kept()?;
    terminal.types("word=remembered\n")?;
    terminal.types(CTRL_P)?;
    terminal.types(CTRL_Q)?;
    terminal.shows("status 0")?;
    see::same(terminal.line(), "the terminal's modes to be as before:", true, terminal.modes()? == before)?;
    see::same(terminal.line(), "the State in ps -a:", "running".to_string(), one.state()?)?;
    terminal.types("\n")?;
    raw(&mut terminal, &before)?;
    terminal.types("echo \"it is $word\"; tty\n")?;
    terminal.shows("it is remembered")?;
    terminal.shows("/dev/pts/0")?;
    terminal.types(&format!("{CTRL_P}{CTRL_Q}"))?; // in one piece
    terminal.shows("status 0")?;
    terminal.types("\n")?;
    raw(&mut terminal, &before)?;
    // Another key after Ctrl-P: both are the container's.
    terminal.types("stty raw -echo; echo go; od -An -tx1 -N 3; stty sane\n")?;
    terminal.shows("go\n")?;
    terminal.types(&format!("{CTRL_P}x{CTRL_Q}"))?;
    terminal.shows("10 78 11")?;
    terminal.types("exit 7\n")?;
    terminal.shows("status 7")?;
    see::same(terminal.line(), "the terminal's modes to be as before:", true, terminal.modes()? == before)?;
    one.exits(7)
}

fn ended(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "echo out; exit 7"]).detach()?;
    one.exits(7)?;
    lab.refuses("attach", [one.id()], "not running").or_else(|_| lab.refuses("attach", [one.id()], "stopped"))
}
