//! `--init`: a process 1 that reaps, hands signals on, and ends as its command does.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Init;
use crate::checks::check::Check;
use crate::checks::init::terminal::{asleep, raw};
use crate::machine::process::Process;
use crate::see::{SOON, differs, wait_for};
use crate::trial::running::Running;
use crate::trial::runtime::Lab;
use crate::trial::terminal::{CTRL_C, CTRL_Z, Terminal};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "init-is-process-1",
        Init,
        "With --init the command is not process 1, but its child, in a session of its own; without, it is.",
        is_process_1,
    ),
    Check::new(
        "init-status",
        Init,
        "With --init run returns the command's status, 128+n, 126 and 127 as without.",
        status,
    ),
    Check::new(
        "init-ctrl-c",
        Init,
        "With -ti --init, Ctrl-C ends a command that never thought of signals: 130. Without --init the kernel shields it.",
        ctrl_c,
    ),
    Check::new(
        "init-ctrl-z",
        Init,
        "With -ti --init, Ctrl-Z strands no command that no shell watches.",
        ctrl_z,
    ),
    Check::new("init-reaps", Init, "With --init, 300 orphans leave no zombie.", reaps),
    Check::new(
        "exit-by-realtime-signal",
        Init,
        "With --init, run returns 128+n when real-time signal n killed the command; an orphan that one kills ends nothing.",
        by_realtime_signal,
    ),
    Check::new(
        "init-signals",
        Init,
        "With --init, the signals that run or process 1 gets arrive at the command.",
        signals,
    ),
    Check::new(
        "init-ends-all",
        Init,
        "With --init, nothing in the container outlives the command.",
        ends_all,
    ),
    Check::new(
        "init-bond",
        Init,
        "With --init, a command that gave up root dies with run too, killed by SIGKILL.",
        bond,
    ),
    Check::new("init-small", Init, "The init has less than 1 MB of memory of its own.", small),
];

/// The command's process in the container, which is not process 1: its command line begins so, as that of the runtime,
/// which it was before, does not.
fn command(lab: &Lab, run: &Running, name: &str) -> Result<Process> {
    let is_it = |process: &Process| {
        process.numbers().len() > 1
            && process.command().starts_with(name)
            && process.numbers().last() != Some(&1)
    };
    let found = wait_for(SOON, || Ok(lab.mark().processes().into_iter().find(is_it)))?;
    found.ok_or_else(|| {
        run.differs(format!("a process {name:?} in the container that is not process 1"), "none")
    })
}

fn init_of(process: Process, run: &Running) -> Result<Process> {
    let parent = process.parent().filter(|parent| parent.numbers().last() == Some(&1));
    parent.ok_or_else(|| run.differs("process 1 as the command's parent", "another"))
}

fn is_process_1(lab: &Lab) -> Result<()> {
    lab.sh("echo $$").finish()?.prints("1\n")?;
    let outcome = lab.sh("[ $$ -ne 1 ] && echo parent $PPID").with(["--init"]).finish()?;
    outcome.succeeds()?.prints("parent 1\n")?;
    let run = lab.run(["sleep", "1000"]).with(["--init"]).start()?;
    let process = command(lab, &run, "sleep 1000")?;
    let init = init_of(process, &run)?;
    let session = |process: Process| process.status("NSsid").unwrap_or_default();
    run.same("the command's session to be its own:", process.status("NSpid"), Some(session(process)))?;
    run.same("the init's session to be another:", false, session(init) == session(process))?;
    process.signal(Signal::SIGKILL);
    run.finish()?.exits(137).map(drop)
}

fn status(lab: &Lab) -> Result<()> {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        lab.sh(script).with(["--init"]).finish()?.exits(status)?;
    }
    lab.run(["no-such-command"]).with(["--init"]).finish()?.exits(127)?.mentions("no-such-command")?;
    lab.run(["/etc/passwd"]).with(["--init"]).finish()?.exits(126)?;
    Ok(())
}

fn ctrl_c(lab: &Lab) -> Result<()> {
    for (options, status) in [("-ti --init", "status 130"), ("-ti", "no status")] {
        let script =
            format!("read go; \"$RUN\" run {options} $IMAGE sleep 1000; echo \"status $?\"; read line");
        let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
        let before = terminal.modes()?;
        terminal.types("\n")?;
        let process = asleep(lab, &terminal)?;
        raw(&mut terminal, &before)?;
        terminal.types(CTRL_C)?;
        if status == "no status" {
            terminal.shows("^C")?; // it has been taken by the container's terminal
            std::thread::sleep(Duration::from_millis(200));
            if !process.lives() {
                return Err(differs(terminal.line(), "a process 1 that the kernel shields", "its end"));
            }
            process.signal(Signal::SIGKILL);
            terminal.shows("status 137")?;
        } else {
            terminal.shows(status)?;
        }
    }
    Ok(())
}

fn ctrl_z(lab: &Lab) -> Result<()> {
    let mut terminal = Terminal::with_shell(
        lab,
        &[
            "-c",
            "\"$RUN\" run -ti --init $IMAGE sh -c 'echo ready; sleep 2; echo awake'; echo \"status $?\"; read line",
        ],
    )?;
    terminal.shows("ready")?;
    terminal.types(CTRL_Z)?;
    terminal.shows("awake")?;
    terminal.shows("status 0")
}

fn reaps(lab: &Lab) -> Result<()> {
    // Each orphan is made by a shell that ends before it. Most end one by one; the last 100 by one kill(2), at once.
    let script = "i=0; while [ $i -lt 200 ]; do (true &) ; i=$((i+1)); done; \
        setsid sh -c 'i=0; while [ $i -lt 100 ]; do (sleep 1000 &) ; i=$((i+1)); done; kill -9 0'; echo made; sleep 1000";
    let mut run = lab.sh(script).with(["--init"]).start()?;
    run.wrote("made")?;
    let left = || -> Vec<Process> {
        let zombie = |one: &Process| {
            one.numbers().len() > 1 && one.status("State").is_some_and(|state| state.starts_with('Z'))
        };
        // By descent, because a zombie has no mark any more.
        run.runtime().descendants().into_iter().filter(zombie).collect()
    };
    wait_for(SOON, || Ok(left().is_empty().then_some(())))?
        .ok_or_else(|| run.differs("no zombie", format!("{} of them", left().len())))?;
    run.signal(Signal::SIGTERM);
    run.finish()?.exits(143).map(drop)
}

fn by_realtime_signal(lab: &Lab) -> Result<()> {
    // The C library keeps 32 and 33 for itself; 64 is the last one.
    for signal in [34, 50, 64] {
        lab.sh(&format!("kill -{signal} $$")).with(["--init"]).finish()?.exits(128 + signal)?;
    }
    let orphan = "(sh -c 'kill -40 $$' &); sleep 0.3; exit 6";
    lab.sh(orphan).with(["--init"]).finish()?.exits(6).map(drop)
}

fn signals(lab: &Lab) -> Result<()> {
    let script = "[ $$ -ne 1 ] || exit 1; for s in INT TERM HUP QUIT USR1 USR2; do trap \"echo got-$s\" $s; done; echo ready; while :; do sleep 0.05; done";
    let mut run = lab.sh(script).with(["--init"]).start()?;
    run.wrote("ready")?;
    for (signal, name) in [
        (Signal::SIGINT, "INT"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        run.signal(signal);
        run.wrote(&format!("got-{name}"))?;
    }
    let init = init_of(command(lab, &run, "sh -c")?, &run)?;
    for (signal, name) in [(Signal::SIGUSR1, "USR1"), (Signal::SIGUSR2, "USR2")] {
        init.signal(signal);
        run.wrote(&format!("got-{name}"))?;
    }
    init.signal(Signal::SIGKILL);
    run.finish()?.exits(137)?;
    // A real-time signal may be handed on or not, but nobody in there can end the init with one.
    lab.sh("trap : 40; kill -40 1; sleep 0.1; echo lives")
        .with(["--init"])
        .finish()?
        .prints("lives\n")
        .map(drop)
}

fn ends_all(lab: &Lab) -> Result<()> {
    let outcome = lab.sh("(sleep 1000 &); setsid sleep 1000 & exit 6").with(["--init"]).finish()?;
    outcome.exits(6)?;
    let left = lab.mark().gone(SOON);
    if left.is_empty() { Ok(()) } else { Err(outcome.differs("no process left")) }
}

fn bond(lab: &Lab) -> Result<()> {
    let script = "echo 'nobody:x:65534:65534::/:/bin/sh' >> /etc/passwd; exec su nobody -c 'exec sleep 1000'";
    let mut run = lab.sh(script).with(["--init"]).start()?;
    let process = command(lab, &run, "sleep 1000")?;
    let other =
        wait_for(SOON, || Ok(process.status("Uid").filter(|uid| uid.starts_with("65534")).map(drop)))?;
    other.ok_or_else(|| run.differs("another user", "root"))?;
    lab.runtime_was_killed();
    run.signal(Signal::SIGKILL);
    let gone = wait_for(SOON, || Ok((!process.lives()).then_some(())))?;
    gone.ok_or_else(|| run.differs("the command's end", "it lives on"))?;
    run.ended()?;
    Ok(())
}

fn small(lab: &Lab) -> Result<()> {
    let run = lab.run(["sleep", "1000"]).with(["--init"]).start()?;
    let process = command(lab, &run, "sleep 1000")?;
    let init = init_of(process, &run)?;
    let rollup = fs::read_to_string(init.file("smaps_rollup"))?;
    let kilobytes: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    if kilobytes >= 1024 {
        return Err(run.differs("less than 1024 kB of its own", format!("{kilobytes} kB")));
    }
    process.signal(Signal::SIGKILL);
    run.finish()?.exits(137).map(drop)
}
