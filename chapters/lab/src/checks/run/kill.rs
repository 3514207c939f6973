//! SIGKILL for `run` itself, which it can neither catch nor clean up after: the kernel must do all.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::{Cgroups, Run};
use crate::checks::check::Check;
use crate::machine::hierarchy;
use crate::machine::process::Process;
use crate::see::{self, SOON};
use crate::trial::runtime::Lab;
use crate::trial::strace;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "dies-with-run",
        Run,
        "When run is killed by SIGKILL, all of its container's processes die.",
        dies_with_run,
    ),
    Check::new(
        "killed-at-any-moment",
        Run,
        "Killed at fifty different moments, run leaves no process, no mount and no cgroup in use.",
        killed_at_any_moment,
    ),
    Check::new(
        "killed-before-bond",
        Run,
        "Killed before its child could ask to die with it, run leaves no process either.",
        killed_before_bond,
    ),
];

fn described(processes: &[Process]) -> String {
    let one = |process: &Process| format!("{} {:?}", process.0, process.command());
    processes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn dies_with_run(lab: &Lab) -> Result<()> {
    let busy = "trap '' TERM HUP INT; sleep 1000 & echo ready; while :; do sleep 1; done";
    let mut run = lab.sh(busy).start()?;
    run.wrote("ready")?;
    run.container()?;
    lab.runtime_was_killed();
    run.signal(Signal::SIGKILL);
    let left = lab.mark().gone(SOON);
    if left.is_empty() {
        Ok(())
    } else {
        Err(run.differs("no process after kill -9 of run", described(&left)))
    }
}

const MOMENTS: u32 = 50;

/// The last of these moments comes when a run of `true` has just ended, but no earlier, for some do nothing for so long;
const QUICKEST: Duration = Duration::from_millis(20);

/// and no later, for the check has to end.
const SLOWEST: Duration = Duration::from_millis(500);

fn killed_at_any_moment(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    // The image is made once before, so that the moments fall on the making of containers.
    lab.run(["true"]).finish()?.succeeds()?;
    let limits = lab.has(Cgroups) && hierarchy::of("memory")?.is_some();
    let mut options = vec!["--log-level", "debug"];
    if limits {
        options.extend(["-m", "64m"]);
    }
    // Before, during and after all that run does, however quick this machine is.
    let begun = Instant::now();
    lab.run(["true"]).with(&options).finish()?.exits(0)?;
    let last = begun.elapsed().clamp(QUICKEST, SLOWEST);
    for number in 0..MOMENTS {
        let moment = last * number / (MOMENTS - 1);
        let mut run = lab.run(["sleep", "1000"]).with(&options).start()?;
        thread::sleep(moment);
        run.signal(Signal::SIGKILL);
        see::wait_for(SOON, || run.ended())?;
        let left = lab.mark().gone(SOON);
        if !left.is_empty() {
            let after = format!("no process after kill -9 of run, {moment:?} after its start");
            return Err(run.differs(after, described(&left)));
        }
        lab.host_unchanged_but_unions(run.line())?;
        // Nobody was left to remove the cgroups; that they are empty is all that can be asked.
        for id in ids(&run.stderr()) {
            hierarchy::sweep(&id)?;
        }
    }
    lab.run(["true"]).with(&options).finish()?.exits(0)?;
    Ok(())
}

/// The containers whose cgroups the debug log tells of.
fn ids(log: &[u8]) -> BTreeSet<String> {
    let log = String::from_utf8_lossy(log);
    let id = |text: &str| {
        text.get(..12).filter(|id| id.chars().all(|c| c.is_ascii_hexdigit())).map(str::to_string)
    };
    log.split("byhand/").skip(1).filter_map(id).collect()
}

/// Between clone and prctl(PR_SET_PDEATHSIG) the child is tied to nothing. strace makes that moment long.
fn killed_before_bond(lab: &Lab) -> Result<()> {
    strace::required()?;
    lab.runtime_was_killed();
    lab.run(["true"]).finish()?.succeeds()?;
    let delay = ["strace", "-f", "-o", "/dev/null", "-e", "inject=prctl:delay_enter=400000"];
    let mut run = lab.run(["sleep", "1000"]).under(delay).start()?;
    // The runtime is the child of strace that the process in the new PID namespace descends from.
    let strace = run.runtime();
    let ancestors = |process: Process| std::iter::successors(Some(process), |process| process.parent());
    let below_strace = || {
        let all = lab.mark().processes();
        let inside = all.into_iter().find(|process| process.numbers().len() > 1);
        Ok(inside.and_then(|inside| ancestors(inside).find(|one| one.parent() == Some(strace))))
    };
    let Some(runtime) = see::wait_for(SOON, below_strace)? else {
        return Err(run.differs("a child in a new PID namespace", "none"));
    };
    thread::sleep(Duration::from_millis(100));
    runtime.signal(Signal::SIGKILL);
    let left = lab.mark().gone(SOON);
    if left.is_empty() {
        return Ok(());
    }
    let _ = run.ended();
    Err(run.differs("no process after kill -9 of run, before its child's prctl", described(&left)))
}
