//! `--restart on-failure[:N]`: an init that starts a command that fails again.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Init;
use crate::checks::check::Check;
use crate::trial::runtime::{Lab, Run};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "restart",
        Init,
        "With --init --restart on-failure:N a command that fails starts again a second later, N times at most; the last status counts.",
        restart,
    )
    .exercise("restart"),
    Check::new(
        "restart-afresh",
        Init,
        "What one try has started is gone in the next, which has the terminal as the first had it.",
        afresh,
    )
    .exercise("restart"),
    Check::new(
        "restart-ended",
        Init,
        "After a signal that ends run, whether the command runs or is about to, nothing is started again.",
        ended,
    )
    .exercise("restart"),
    Check::new("restart-bad", Init, "--restart without --init, or with what is no number above 0, is refused.", bad)
        .exercise("restart"),
];

fn restarting<'a>(lab: &'a Lab, policy: &str, script: &str) -> Run<'a> {
    lab.sh(script).with(["--init", "--restart", policy])
}

fn restart(lab: &Lab) -> Result<()> {
    let third_time = "echo x >> /tmp/tries; n=$(wc -l < /tmp/tries); echo $n; [ $n = 3 ] || exit $((n + 3))";
    let cases = [
        ("on-failure:1", third_time, "1\n2\n", 5),
        ("on-failure:2", third_time, "1\n2\n3\n", 0),
        ("on-failure", third_time, "1\n2\n3\n", 0),
        ("on-failure:1", "echo killed; kill -9 $$", "killed\nkilled\n", 137),
        ("on-failure:9", "echo well", "well\n", 0),
    ];
    for (policy, script, prints, status) in cases {
        let start = Instant::now();
        let outcome = restarting(lab, policy, script).finish()?;
        outcome.prints(prints)?.exits(status)?;
        let pauses = prints.lines().count() as u32 - 1;
        if start.elapsed() < Duration::from_secs(1) * pauses {
            return Err(outcome.differs(format!("an end after {pauses} seconds or more")));
        }
    }
    Ok(())
}

fn afresh(lab: &Lab) -> Result<()> {
    // An orphan in a session of its own, and a child that no signal ends but SIGKILL.
    let first = "(setsid sleep 1000 &); sh -c 'trap \"\" TERM HUP INT; exec sleep 1000' & touch /tmp/first";
    let next = "echo left: $(ps -o comm | grep -c sleep); echo $(tty) > /dev/tty";
    let script = format!("if [ -e /tmp/first ]; then {next}; else {first}; sleep 0.5; exit 1; fi");
    restarting(lab, "on-failure:1", &script)
        .with(["-t"])
        .finish()?
        .exits(0)?
        .prints("left: 0\r\n/dev/pts/0\r\n")?;
    Ok(())
}

fn ended(lab: &Lab) -> Result<()> {
    let handled = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = restarting(lab, "on-failure", handled).start()?;
    run.wrote("ready")?;
    run.signal(Signal::SIGTERM);
    run.finish()?.exits(5)?.prints("ready\ncaught\n")?;

    let mut run = restarting(lab, "on-failure", "echo over; exit 3").start()?;
    run.wrote("over\n")?;
    thread::sleep(Duration::from_millis(300)); // into the pause
    run.signal(Signal::SIGINT);
    let outcome = run.finish()?;
    // On a slow machine the signal may come when the command runs, and kill it.
    if !matches!(outcome.status.code(), Some(3 | 130)) {
        return Err(outcome.differs("exit status 3"));
    }
    Ok(())
}

fn bad(lab: &Lab) -> Result<()> {
    restarting(lab, "on-failure:1", "true").finish()?.succeeds()?; // else everything would be refused
    lab.sh("echo ran").with(["--restart", "on-failure"]).finish()?.refuses(&[125])?;
    for policy in
        ["on-failure:0", "on-failure:", "on-failure:x", "on-failure:1.5", "on-failures", "sometimes", ""]
    {
        restarting(lab, policy, "echo ran").finish()?.refuses(&[125])?;
    }
    Ok(())
}
