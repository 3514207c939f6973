//! A run as a job of a shell: stopped and taken up again, and the shell gets all that is typed meanwhile. credentials(7).

use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{SOON, differs, wait_for};
use crate::trial::runtime::Lab;
use crate::trial::terminal::{CTRL_D, CTRL_Z, Terminal};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "job-background",
        Run,
        "run -i in the background is stopped as any job that reads there, and gets nothing typed before fg.",
        background,
    ),
    Check::new(
        "job-ctrl-z",
        Run,
        "Ctrl-Z or SIGTSTP stops run -i, the shell gets all that is typed meanwhile, and fg takes it up again.",
        ctrl_z,
    ),
    Check::new(
        "job-continued",
        Run,
        "SIGTSTP to run -i alone keeps the container from reading, and SIGCONT to run alone lets it go on.",
        continued,
    ),
    Check::new(
        "job-killed",
        Run,
        "run -ti, stopped in the background, ends by SIGTERM, SIGHUP or SIGINT and SIGCONT: 128+n.",
        killed,
    ),
    Check::new(
        "job-foreground-again",
        Run,
        "After SIGTSTP to run -ti and fg, the container is in the terminal's foreground again.",
        foreground_again,
    ),
];

/// Shows what it reads in a way that its own text, on the command line, does not show.
const READER: &str = "while read line; do echo \"got:<$line>\"; done; exit 3";

/// An interactive shell, at its first prompt.
fn interactive(lab: &Lab) -> Result<Terminal<'_>> {
    let mut terminal = Terminal::with_shell(lab, &["-i"])?;
    terminal.shows("caller$ ")?;
    Ok(terminal)
}

/// Whether the shell gets every line. A container that reads the terminal too would get some of them.
fn shell_gets_all(terminal: &mut Terminal<'_>) -> Result<()> {
    for number in 10..30 {
        terminal.types(&format!("echo $(({number}+100))-for-the-shell\n"))?;
        terminal.shows_unless(&format!("{}-for-the-shell", number + 100), "got:<e")?;
        terminal.shows("caller$ ")?;
    }
    terminal.never_showed("got:<e")
}

/// What the shell has started: its job's first process.
fn job(terminal: &Terminal<'_>) -> Option<Process> {
    terminal.leader().descendants().first().copied()
}

/// Waits until the job is stopped. The processes of the job that are not are an error's last words.
fn stopped(terminal: &Terminal<'_>) -> Result<Process> {
    let state = || job(terminal).and_then(|job| job.status("State")).unwrap_or_default();
    let done = wait_for(SOON, || Ok(job(terminal).filter(|_| state().starts_with('T'))))?;
    done.ok_or_else(|| differs(terminal.line(), "the job to be stopped", format!("its state {:?}", state())))
}

/// Takes the job up and sees it through: it reads, and ends when the input does.
fn taken_up(mut terminal: Terminal<'_>) -> Result<()> {
    terminal.types("fg\n")?;
    terminal.is_given_away()?;
    terminal.types("hello\n")?;
    terminal.shows("got:<hello>")?;
    terminal.types(CTRL_D)?;
    terminal.shows("caller$ ")?;
    terminal.types("echo \"status $?\"\n")?;
    terminal.shows("status 3")?;
    terminal.belongs_to_the_caller()?;
    terminal.never_showed("got:<e")
}

fn background(lab: &Lab) -> Result<()> {
    let mut terminal = interactive(lab)?;
    terminal.types(&format!("\"$RUN\" run -i $IMAGE sh -c '{READER}' &\n"))?;
    terminal.shows("caller$ ")?;
    // One that is never stopped has a container sooner or later.
    let running =
        |process: &Process| process.command().starts_with("sh -c while") && process.numbers().len() > 1;
    let settled = || {
        let stopped =
            job(&terminal).is_some_and(|job| job.status("State").is_some_and(|state| state.starts_with('T')));
        Ok((stopped || lab.mark().processes().iter().any(running)).then_some(()))
    };
    wait_for(SOON, settled)?;
    shell_gets_all(&mut terminal)?;
    stopped(&terminal)?;
    taken_up(terminal)
}

/// A job that reads, is stopped in the way that is asked for, and taken up again by `fg`.
fn stopped_and_taken_up(
    lab: &Lab,
    option: &str,
    stop: impl Fn(&mut Terminal<'_>) -> Result<()>,
) -> Result<()> {
    let mut terminal = interactive(lab)?;
    terminal.types(&format!("\"$RUN\" run {option} $IMAGE sh -c '{READER}'\n"))?;
    terminal.is_given_away()?;
    terminal.types("first\n")?;
    terminal.shows_unless("got:<first>", "caller$ ")?;
    stop(&mut terminal)?;
    terminal.shows("caller$ ")?;
    stopped(&terminal)?;
    terminal.belongs_to_the_caller()?;
    shell_gets_all(&mut terminal)?;
    taken_up(terminal)
}

/// SIGTSTP to `run` alone, from elsewhere.
fn signal_stop(terminal: &mut Terminal<'_>) -> Result<()> {
    let job = job(terminal).ok_or_else(|| differs(terminal.line(), "a job", "none"))?;
    job.signal(Signal::SIGTSTP);
    Ok(())
}

fn ctrl_z(lab: &Lab) -> Result<()> {
    stopped_and_taken_up(lab, "-i", |terminal| terminal.types(CTRL_Z))?;
    stopped_and_taken_up(lab, "-i", signal_stop)
}

/// A shell without job control, as one that executes a script: nobody else stops or continues anything.
fn continued(lab: &Lab) -> Result<()> {
    let script = format!("\"$RUN\" run -i $IMAGE sh -c '{READER}'; echo \"status $?\"");
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.types("first\n")?;
    terminal.shows_unless("got:<first>", "status ")?;
    let run = job(&terminal).ok_or_else(|| differs(terminal.line(), "a job", "none"))?;
    for line in ["second", "third"] {
        signal_stop(&mut terminal)?;
        stopped(&terminal)?;
        terminal.types(&format!("{line}\n"))?;
        thread::sleep(Duration::from_millis(300));
        terminal.shows(line)?; // its echo: by now, all that was written has been read
        terminal.never_showed(&format!("got:<{line}>"))?;
        run.signal(Signal::SIGCONT);
        terminal.shows_unless(&format!("got:<{line}>"), "status ")?;
    }
    terminal.types(CTRL_D)?;
    terminal.shows("status 3")
}

fn foreground_again(lab: &Lab) -> Result<()> {
    stopped_and_taken_up(lab, "-ti", signal_stop)?;
    // bg lets it go on without the terminal, which it waits for.
    let in_the_background = |terminal: &mut Terminal<'_>| {
        signal_stop(terminal)?;
        terminal.shows("caller$ ")?;
        stopped(terminal)?;
        terminal.types("bg\n")
    };
    stopped_and_taken_up(lab, "-ti", in_the_background)
}

fn killed(lab: &Lab) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let script = "set -m; \"$RUN\" run -ti $IMAGE sh -c 'echo ran; sleep 1000' & read line; wait $!; echo \"status $?\"; read line";
        let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
        ends(&terminal, stopped(&terminal)?, signal)?;
        terminal.types("go on\n")?;
        terminal.shows(&format!("status {}", 128 + signal as i32))?;
        terminal.never_showed("ran\r")?;
        terminal.belongs_to_the_caller()?;
    }
    // One whose container runs already.
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut terminal = interactive(lab)?;
        let script = "trap \"exit 7\" TERM HUP INT; sleep 1000 & echo on; wait";
        terminal.types(&format!("\"$RUN\" run -ti $IMAGE sh -c '{script}'\n"))?;
        terminal.shows("on\r")?;
        terminal.is_given_away()?;
        signal_stop(&mut terminal)?;
        terminal.shows("caller$ ")?;
        ends(&terminal, stopped(&terminal)?, signal)?;
        terminal.belongs_to_the_caller()?;
    }
    Ok(())
}

/// Ends a job that is stopped, as the shell's own `kill %1` does.
fn ends(terminal: &Terminal<'_>, job: Process, signal: Signal) -> Result<()> {
    job.signal_group(signal);
    job.signal_group(Signal::SIGCONT);
    let end = wait_for(SOON, || Ok((!job.lives()).then_some(())))?;
    let did = format!("{}, {signal} and SIGCONT to the job", terminal.line());
    end.ok_or_else(|| differs(did, "an end", format!("its state {:?}", job.status("State"))))
}
