//! Signals that come before the command: process 1 of a namespace has no handler yet, so the kernel would drop them.

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::libc;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::outcome::Outcome;
use crate::trial::running::Running;
use crate::trial::runtime::Lab;
use crate::trial::strace;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "signal-before-command",
        Run,
        "SIGINT, SIGTERM, SIGHUP or SIGQUIT before the command ends the start: 128+n, and the command never runs.",
        signal_before_command,
    ),
    Check::new(
        "signal-at-any-moment",
        Run,
        "SIGTERM at thirty different moments of the start is never lost.",
        signal_at_any_moment,
    ),
];

const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Status 128+n, as a shell sees it, which is also what a runtime has that has made nothing yet and was killed; and no
/// command has written anything.
fn ended_by(outcome: &Outcome, signal: Signal) -> Result<()> {
    if outcome.status.signal() != Some(signal as i32) {
        outcome.exits(128 + signal as i32)?;
    }
    outcome.prints("").map(drop)
}

/// strace holds the child before its sethostname(2), which every container calls, so that the signal is early for sure.
fn signal_before_command(lab: &Lab) -> Result<()> {
    strace::required()?;
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once is made now
    let hold = ["strace", "-f", "-o", "/dev/null", "-e", "inject=sethostname:delay_enter=2000000"];
    let mut signalled = Vec::new();
    for signal in SIGNALS {
        let mut run = lab.sh("echo the command ran").under(hold).start()?;
        let strace = run.runtime();
        let held = || {
            let family = strace.descendants();
            let held = family.iter().any(|process| process.is_held_in(libc::SYS_sethostname));
            let runtime = family.first().copied().filter(|_| held).map(Some);
            Ok(if run.ended()?.is_some() { Some(None) } else { runtime })
        };
        let Some(runtime) = wait_for(SOON, held)?.flatten() else {
            return Err(run.differs("a call of sethostname", "none"));
        };
        runtime.signal(signal);
        signalled.push((signal, run));
    }
    signalled.into_iter().try_for_each(|(signal, run)| ended_by(&run.finish()?, signal))
}

const SCRIPT: &str = "trap 'echo handled; exit 42' TERM; echo ready; while :; do sleep 0.05; done";

fn signal_at_any_moment(lab: &Lab) -> Result<()> {
    const MOMENTS: u32 = 30;
    lab.run(["true"]).finish()?.succeeds()?;
    // How long a start takes here, the quickest of three, so that the moments are spread over it.
    let mut whole = SOON;
    for _ in 0..3 {
        let begin = Instant::now();
        let mut run = lab.sh(SCRIPT).start()?;
        run.wrote("ready")?;
        whole = whole.min(begin.elapsed());
        run.kill_command()?;
    }
    for moment in 0..MOMENTS {
        let run = lab.sh(SCRIPT).start()?;
        thread::sleep(whole * moment / MOMENTS);
        signalled_now(run)?;
    }
    Ok(())
}

/// Stops the whole start where it is, so that one can look, and sends SIGTERM to `run`. If the command had not been
/// executed, it never may be now; if it was ready, it must get the signal. Between these two, a shell that has not come
/// to its trap is a process 1 without handler, and has the right to miss it.
fn signalled_now(mut run: Running) -> Result<()> {
    let runtime = run.runtime();
    runtime.halt()?;
    let is_first = |child: &Process| matches!(child.numbers()[..], [_, .., 1]);
    let child = runtime.descendants().into_iter().find(is_first);
    if let Some(child) = child {
        child.halt()?;
    }
    let executed = child.is_some_and(|child| child.command() == format!("sh -c {SCRIPT}"));
    let ready = String::from_utf8_lossy(&run.stdout()).contains("ready");
    runtime.signal(Signal::SIGTERM);
    runtime.signal(Signal::SIGCONT);
    if let Some(child) = child {
        // It goes on only when the signal is on its way to it, or the race would be the lab's.
        let passed_on = || Ok((child.awaits(Signal::SIGTERM) || !child.lives()).then_some(()));
        // One that has not executed the command yet has no trap to miss it with, and can wait.
        wait_for(Duration::from_secs(if executed { 1 } else { 5 }), passed_on)?;
        child.signal(Signal::SIGCONT);
    }
    if ready {
        return run.finish()?.exits(42)?.prints("ready\nhandled\n").map(drop);
    }
    let news = wait_for(SOON, || Ok((run.ended()?.is_some() || !run.stdout().is_empty()).then_some(())))?;
    if executed {
        run.signal(Signal::SIGTERM); // now it has its trap
        return run.finish()?.exits(42).map(drop);
    }
    // A command that runs after all would run for ever.
    if news.is_none() || run.ended()?.is_none() {
        let saw = format!("it goes on, with stdout {}", see::shown(&run.stdout()));
        return Err(run.differs("an end by SIGTERM, which came before the command", saw));
    }
    ended_by(&run.finish()?, Signal::SIGTERM)
}
