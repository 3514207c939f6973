//! `exec`: another command in a container that runs.

use std::fs;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;
use crate::trial::terminal::Terminal;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "exec-inside",
        Lifecycle,
        "exec runs a command in all namespaces of the container, in its root, as a process that process 1 sees.",
        inside,
    ),
    Check::new(
        "exec-status",
        Lifecycle,
        "exec ends with the command's status, 127 or 126; with 1 if there is no such container, or it does not run.",
        status,
    ),
    Check::new(
        "exec-argv",
        Lifecycle,
        "exec hands every argument on, byte for byte, and its options end at the command.",
        arguments,
    ),
    Check::new(
        "exec-environment",
        Lifecycle,
        "exec has the container's variables, those of -e, and none of the caller's.",
        environment,
    ),
    Check::new(
        "exec-streams",
        Lifecycle,
        "exec keeps stdout and stderr apart, and with -i hands its stdin on.",
        streams,
    ),
    Check::new(
        "exec-cgroup",
        Lifecycle,
        "What exec starts is in the container's cgroups, and so within its limits.",
        cgroup,
    ),
    Check::new("exec-dies", Lifecycle, "What exec started dies with it, and with the container.", dies),
    Check::new(
        "exec-terminal",
        Lifecycle,
        "exec -it gives the command a terminal of the container's own.",
        terminal,
    ),
];

fn sleeper(lab: &Lab) -> Result<Kept<'_>> {
    lab.kept(["sleep", "1000"]).detach()
}

fn inside(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "echo written > /file; exec sleep 1000"]).detach()?;
    let there = || Ok(fs::read_to_string(one.process()?.file("root/file")).ok());
    wait_for(SOON, there)?;
    lab.says("exec", [one.id(), "sh", "-c", "hostname; cat /file"], &format!("{}\nwritten\n", one.id()))?;
    let links = "cd /proc; for n in mnt uts ipc pid net; do readlink 1/ns/$n; readlink self/ns/$n; done";
    let outcome = lab.call("exec", [one.id(), "sh", "-c", links]).finish()?;
    outcome.succeeds()?;
    let text = outcome.output();
    let lines: Vec<_> = text.lines().collect();
    if lines.len() != 10 || lines.chunks(2).any(|pair| pair[0] != pair[1]) {
        return Err(outcome.differs("each namespace to be that of process 1"));
    }
    let seen = lab.call("exec", [one.id(), "sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline; true"]).finish()?;
    seen.succeeds()?;
    see::same(
        &seen.line,
        "its own command in the container's /proc:",
        true,
        seen.output().starts_with("sh -c tr"),
    )?;
    // A process may call itself anything.
    let script = r"printf '\377' > /proc/self/comm; echo ready; while :; do sleep 0.02; done";
    let odd = lab.kept(["sh", "-c", script]).detach()?;
    odd.wrote("ready\n")?;
    lab.says("exec", [odd.id(), "echo", "fine"], "fine\n")
}

fn status(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    for number in [0, 7, 255] {
        lab.call("exec", [one.id(), "sh", "-c", &format!("exit {number}")]).finish()?.exits(number)?;
    }
    lab.call("exec", [one.id(), "sh", "-c", "kill -9 $$"]).finish()?.exits(137)?;
    lab.call("exec", [one.id(), "no-such-command"]).finish()?.refuses(&[127])?.mentions("no-such-command")?;
    lab.call("exec", [one.id(), "/etc/passwd"]).finish()?.refuses(&[126])?.mentions("/etc/passwd")?;
    lab.refuses("exec", ["no-such-container", "true"], "no-such-container")?;
    one.process()?.signal(Signal::SIGKILL);
    one.exits(137)?;
    // The originals run the command on the host then.
    let outcome = lab.call("exec", [one.id(), "hostname"]).finish()?;
    outcome.refuses(&[1])?.mentions("not running").map(drop)
}

fn arguments(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    let words = ["", "a  b", "$HOME", ";", "-e", "--", "*", "\"'\\", "é\n"];
    let mut command = vec![one.id(), "printf", "<%s>"];
    command.extend(words);
    let text: String = words.iter().map(|word| format!("<{word}>")).collect();
    lab.says("exec", command, &text)?;
    lab.call("exec", [one.id(), "sh", "-c", "exit 5"]).finish()?.exits(5).map(drop)
}

fn environment(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["-e", "OWN=of the container"]).detach()?;
    let run = lab.call("exec", ["-e", "MORE=a,b c", one.id(), "env"]).variable("SECRET", "of the host");
    let outcome = run.finish()?;
    outcome.succeeds()?;
    let text = outcome.output();
    for expected in ["OWN=of the container", "MORE=a,b c", "HOME=/root", &format!("HOSTNAME={}", one.id())] {
        if !text.lines().any(|line| line == expected) {
            return Err(outcome.differs(format!("the line {expected:?}")));
        }
    }
    if text.contains("SECRET") || text.contains("BYHAND_ROOT") {
        return Err(outcome.differs("no variable of the caller's"));
    }
    Ok(())
}

fn streams(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    let script = "cat; echo out; echo err >&2";
    let outcome = lab.call("exec", ["-i", one.id(), "sh", "-c", script]).input("typed\n").finish()?;
    outcome.exits(0)?.prints("typed\nout\n")?.complains("err\n")?;
    let outcome = lab.call("exec", [one.id(), "sh", "-c", script]).input("typed\n").finish()?;
    outcome.exits(0)?.prints("out\n")?.complains("err\n")?;
    let outcome = lab.call("exec", [one.id(), "sh", "-c", "ls /proc/self/fd | wc -l"]).finish()?;
    outcome.succeeds()?.prints("4\n").map(drop) // 0, 1, 2, and the one that lists them
}

fn cgroup(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--pids-limit", "20"]).detach()?;
    let mut running = lab.call("exec", [one.id(), "sleep", "999"]).start()?;
    let inside = || Ok(lab.mark().processes().into_iter().find(|process| process.command() == "sleep 999"));
    let found = wait_for(SOON, inside)?.ok_or_else(|| one.differs("a process \"sleep 999\"", "none"))?;
    let groups = |process: Process| fs::read_to_string(process.file("cgroup")).unwrap_or_default();
    let same = || Ok((groups(found) == groups(one.process()?)).then_some(()));
    if wait_for(SOON, same)?.is_none() {
        return running.same("the cgroups of what exec started:", groups(one.process()?), groups(found));
    }
    running.ended()?;
    let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 5 & done; wait";
    let outcome = lab.call("exec", [one.id(), "sh", "-c", script]).finish()?;
    if !outcome.error().contains("fork") {
        return Err(outcome.differs("a fork that the container's limit refuses"));
    }
    Ok(())
}

fn dies(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    let inside = |command: &'static str| {
        move || Ok(lab.mark().processes().into_iter().find(|process| process.command() == command))
    };
    let running = lab.call("exec", [one.id(), "sleep", "998"]).start()?;
    let found = wait_for(SOON, inside("sleep 998"))?;
    let found = found.ok_or_else(|| running.differs("a process \"sleep 998\"", "none"))?;
    running.signal(Signal::SIGKILL);
    if wait_for(SOON, || Ok((!found.lives()).then_some(())))?.is_none() {
        return Err(running.differs("the command to die with exec (kill -9)", "it lives"));
    }
    drop(running);
    let running = lab.call("exec", [one.id(), "sleep", "997"]).start()?;
    wait_for(SOON, inside("sleep 997"))?;
    one.process()?.signal(Signal::SIGKILL);
    running.finish()?.exits(137).map(drop)
}

fn terminal(lab: &Lab) -> Result<()> {
    let one = sleeper(lab)?;
    let script = format!(
        "\"$RUNTIME\" exec -it {} sh -c 'tty; read line; echo \"<$line>\"; exit 6'; echo \"status $?\"",
        one.id()
    );
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.shows("/dev/pts/")?;
    terminal.types("hello\n")?;
    terminal.shows("<hello>")?;
    terminal.shows("status 6")
}
