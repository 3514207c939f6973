//! A real terminal: a shell in the container has job control, and the caller gets the terminal back.

use anyhow::Result;

use crate::chapter::Chapter::{Cgroups, Run};
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{SOON, differs, wait_for};
use crate::trial::runtime::Lab;
use crate::trial::terminal::{CTRL_C, CTRL_Z, Terminal};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "terminal-shell",
        Run,
        "run -ti sh shows a prompt with job control, takes exit 3, returns 3 and gives the terminal back.",
        shell,
    ),
    Check::new(
        "terminal-ctrl-c",
        Run,
        "Ctrl-C ends a command in the container's foreground, not the shell there, and not run.",
        ctrl_c,
    ),
    Check::new(
        "terminal-ctrl-z",
        Run,
        "Ctrl-Z stops a command in the container, and fg takes it up again.",
        ctrl_z,
    ),
    Check::new(
        "terminal-job-of-shell",
        Run,
        "run -ti sh works as a job of a shell that has job control itself.",
        job_of_shell,
    ),
    Check::new(
        "terminal-failed-job",
        Cgroups,
        "A background run -t that fails early leaves the terminal to the shell that has it.",
        failed_job,
    ),
    Check::new(
        "terminal-without-t",
        Run,
        "Without -t, -i still reads what is typed, and Ctrl-C reaches the command; without -i, what is typed is the caller's.",
        without_t,
    ),
    Check::new(
        "terminal-command",
        Run,
        "run -t with a command that ends by itself gives the terminal back too.",
        command,
    ),
];

/// A container's shell in a terminal, at its first prompt.
fn container_shell(lab: &Lab) -> Result<Terminal<'_>> {
    let script = "\"$RUN\" run -ti $IMAGE sh; echo \"status $?\"; read line; echo \"caller read $line\"";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows_unless("# ", "status ")?;
    Ok(terminal)
}

/// Leaves it, and looks whether the caller is back in possession.
fn leave(mut terminal: Terminal<'_>) -> Result<()> {
    terminal.types("exit 3\n")?;
    terminal.shows("status 3")?;
    terminal.belongs_to_the_caller()?;
    terminal.types("home\n")?;
    terminal.shows("caller read home")
}

/// Whether the shell answers, which it cannot if it lost the terminal or its life. The answer is made
/// by the shell, so that the echo of what was typed is not taken for it.
fn answers(terminal: &mut Terminal<'_>) -> Result<()> {
    terminal.types("echo $((40+2))-is-the-answer\n")?;
    terminal.shows("42-is-the-answer")?;
    terminal.shows("# ")
}

fn shell(lab: &Lab) -> Result<()> {
    let mut terminal = container_shell(lab)?;
    terminal.types("echo \"I am $$\"\n")?;
    terminal.shows("I am 1\r\n")?;
    terminal.types("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo on $((1+1)) terminals\n")?;
    terminal.shows("on 2 terminals")?;
    answers(&mut terminal)?;
    terminal.never_showed("can't access tty")?;
    terminal.never_showed("job control turned off")?;
    leave(terminal)
}

/// Types a command that takes for ever, and returns its process once it runs.
fn sleep(lab: &Lab, terminal: &mut Terminal<'_>) -> Result<Process> {
    terminal.types("sleep 1000\n")?;
    let sleeping = || {
        let found =
            lab.mark().processes().into_iter().find(|process| process.command().ends_with("sleep 1000"));
        // It must have been executed, and not be the shell's child that is about to.
        Ok(found.filter(|process| !process.command().starts_with("sh")))
    };
    wait_for(SOON, sleeping)?.ok_or_else(|| differs(terminal.line(), "sleep to run", "no such process"))
}

fn ctrl_c(lab: &Lab) -> Result<()> {
    let mut terminal = container_shell(lab)?;
    // A shell drops what it has read when SIGINT comes, so nothing is typed before its next prompt.
    terminal.types(CTRL_C)?;
    terminal.shows("# ")?;
    answers(&mut terminal)?;
    sleep(lab, &mut terminal)?;
    terminal.types(CTRL_C)?;
    terminal.shows("# ")?;
    terminal.types("echo \"it was $?\"\n")?;
    terminal.shows("it was 130")?;
    answers(&mut terminal)?;
    leave(terminal)
}

fn ctrl_z(lab: &Lab) -> Result<()> {
    let mut terminal = container_shell(lab)?;
    let sleep = sleep(lab, &mut terminal)?;
    let becomes = |terminal: &Terminal<'_>, state: &str| -> Result<()> {
        let now = || sleep.status("State").unwrap_or_default();
        let done = wait_for(SOON, || Ok(now().starts_with(state).then_some(())))?;
        done.ok_or_else(|| differs(terminal.line(), format!("state {state} of sleep"), now()))
    };
    terminal.types(CTRL_Z)?;
    terminal.shows("Stopped")?;
    becomes(&terminal, "T")?;
    answers(&mut terminal)?;
    terminal.types("fg\n")?;
    becomes(&terminal, "S")?;
    terminal.types(CTRL_C)?;
    terminal.shows("# ")?;
    answers(&mut terminal)?;
    leave(terminal)
}

fn failed_job(lab: &Lab) -> Result<()> {
    let mut terminal = Terminal::with_shell(lab, &["-i"])?;
    terminal.shows("caller$ ")?;
    terminal.types("\"$RUN\" run -t --cpuset-cpus 4000 $IMAGE sh &\n")?;
    terminal.types("wait; echo $((40+2))-is-the-answer\n")?;
    terminal.shows("42-is-the-answer")?;
    terminal.belongs_to_the_caller()
}

fn job_of_shell(lab: &Lab) -> Result<()> {
    // This caller moves every job into a process group of its own and waits for its end.
    let mut terminal = Terminal::with_shell(lab, &["-i"])?;
    terminal.shows("caller$ ")?;
    terminal.types("\"$RUN\" run -ti --hostname inner $IMAGE sh\n")?;
    terminal.shows_unless("# ", "caller$ ")?;
    answers(&mut terminal)?;
    terminal.types("exit 3\n")?;
    terminal.shows("caller$ ")?;
    terminal.types("echo \"status $?\"\n")?;
    terminal.shows("status 3")?;
    terminal.shows("caller$ ")?;
    terminal.belongs_to_the_caller()?;
    terminal.never_showed("can't access tty")
}

fn without_t(lab: &Lab) -> Result<()> {
    let script = "\"$RUN\" run -i $IMAGE sh -c 'read word; echo \"got $word\"'; echo \"status $?\"";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.types("hello\n")?;
    terminal.shows_unless("got hello", "status ")?;
    terminal.shows("status 0")?;

    let wait = "trap \"exit 5\" INT; echo ready; while :; do sleep 0.05; done";
    let script = format!("trap : INT; \"$RUN\" run -i $IMAGE sh -c '{wait}'; echo \"status $?\"");
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.shows("ready")?;
    terminal.types(CTRL_C)?;
    terminal.shows("status 5")?;

    let script = "\"$RUN\" run $IMAGE sh -c 'echo ready; sleep 0.5'; read line; echo \"caller read $line\"";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows("ready")?;
    terminal.types("home\n")?;
    terminal.shows("caller read home")
}

fn command(lab: &Lab) -> Result<()> {
    let script =
        "\"$RUN\" run -t $IMAGE sh -c 'exit 4'; echo \"status $?\"; read line; echo \"caller read $line\"";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows("status 4")?;
    terminal.belongs_to_the_caller()?;
    terminal.types("home\n")?;
    terminal.shows("caller read home")
}
