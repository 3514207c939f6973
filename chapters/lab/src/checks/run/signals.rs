//! Signals on their way in, and a clean start for the command: signal(7).

use anyhow::Result;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;
use crate::trial::strace::traced;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "signals-passed-on",
        Run,
        "SIGINT, SIGTERM, SIGHUP and SIGQUIT sent to run reach the command.",
        signals_passed_on,
    ),
    Check::new(
        "signals-twice",
        Run,
        "A signal reaches the command each time that it is sent.",
        signals_twice,
    ),
    Check::new(
        "signal-defaults",
        Run,
        "The command starts with no signal ignored or blocked, whatever the caller did.",
        signal_defaults,
    ),
    Check::new(
        "sigchld-ignored",
        Run,
        "The exit status arrives even if the caller ignores SIGCHLD.",
        sigchld_ignored,
    ),
    Check::new(
        "reaped-not-signalled",
        Run,
        "A process that has been waited for gets no signal any more: its number may be another's by then.",
        reaped_not_signalled,
    ),
];

/// Waits for signals in short sleeps, because a shell runs its trap only between two commands.
const WAIT: &str = "echo ready; while :; do sleep 0.05; done";

fn signals_passed_on(lab: &Lab) -> Result<()> {
    let signals = [
        ("INT", Signal::SIGINT),
        ("TERM", Signal::SIGTERM),
        ("HUP", Signal::SIGHUP),
        ("QUIT", Signal::SIGQUIT),
    ];
    for (name, signal) in signals {
        let mut run = lab.sh(&format!("trap 'echo got {name}; exit 42' {name}; {WAIT}")).start()?;
        run.wrote("ready")?;
        run.signal(signal);
        run.finish()?.exits(42)?.prints(format!("ready\ngot {name}\n"))?.complains("")?;
    }
    Ok(())
}

fn signals_twice(lab: &Lab) -> Result<()> {
    let mut run = lab.sh(&format!("trap 'echo got TERM' TERM; trap 'exit 5' INT; {WAIT}")).start()?;
    run.wrote("ready")?;
    run.signal(Signal::SIGTERM);
    run.wrote("got TERM\n")?;
    run.signal(Signal::SIGTERM);
    run.wrote("got TERM\ngot TERM\n")?;
    run.signal(Signal::SIGINT);
    run.finish()?.exits(5)?;
    Ok(())
}

/// Ignores and blocks most of what can be ignored and blocked.
fn spoil_signals() -> std::io::Result<()> {
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: SIG_IGN is no function of ours.
        if unsafe { libc::signal(signal as i32, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
}

fn signal_defaults(lab: &Lab) -> Result<()> {
    for spoilt in [false, true] {
        let run = lab.run(["sleep", "1000"]);
        let mut run = if spoilt { run.prepared(spoil_signals) } else { run }.start()?;
        let container = run.container()?;
        // Ignored: the 31 classic signals. The C library keeps 32 and 33 to itself, and has them ignored
        // in what it spawns; the rest have no meaning by default.
        for (field, which) in [("SigIgn", 0x7fff_ffff), ("SigBlk", u64::MAX), ("ShdPnd", u64::MAX)] {
            let caller = if spoilt { ", with all signals ignored and blocked by the caller," } else { "" };
            let bits = container.status(field).and_then(|bits| u64::from_str_radix(&bits, 16).ok());
            let what = format!("in /proc/PID/status{caller} these bits of {field}:");
            run.same(&what, Some(0), bits.map(|bits| bits & which))?;
        }
        run.kill_command()?.exits(137)?;
    }
    Ok(())
}

fn sigchld_ignored(lab: &Lab) -> Result<()> {
    let ignore = || {
        // SAFETY: SIG_IGN is no function of ours.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        Ok(())
    };
    lab.sh("sleep 0.1; exit 7").prepared(ignore).finish()?.exits(7)?.complains("")?;
    Ok(())
}

fn reaped_not_signalled(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once, with helpers perhaps, is made now
    let calls = "trace=/^(wait4|waitid|kill|tkill|tgkill|pidfd_send_signal)$";
    let (outcome, trace) = traced(lab, &["-e", calls], lab.run(["true"]))?;
    outcome.exits(0)?;
    let mut reaped: Vec<&str> = Vec::new();
    let mut late = Vec::new();
    for line in trace.lines() {
        let number = |before: &str| {
            let after = line.split(before).nth(1)?;
            after.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())
        };
        // The call may be told in two lines, for others are told meanwhile; what it returns is in the second.
        if line.contains("WIFEXITED") || line.contains("WIFSIGNALED") {
            reaped.extend(line.rsplit(' ').next());
        } else if line.contains("waitid") && !line.contains("WNOWAIT") && !line.contains("CLD_STOPPED") {
            reaped.extend(number("si_pid="));
        }
        if number("kill(").is_some_and(|pid| reaped.contains(&pid)) {
            late.push(line);
        }
    }
    see::same(
        &outcome.line,
        "signals to a process that was waited for before, in strace -f:",
        Vec::new(),
        late,
    )
}
