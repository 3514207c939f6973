//! Where the time goes: a run's system calls, each with the moment at which it began.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::bench::contender::Contender;
use crate::bench::measure::{go_on, milliseconds};
use crate::bench::place::Place;
use crate::bench::statistics::median;

/// What a run spends its time on.
pub(crate) const STEPS: [&str; 8] =
    ["start", "cgroup", "layers", "clone", "pivot_root", "/proc, /dev", "exec", "end"];

const START: usize = 0;
const CGROUP: usize = 1;
const LAYERS: usize = 2;
const CLONE: usize = 3;
const PIVOT: usize = 4;
const DEVICES: usize = 5;
const EXEC: usize = 6;
const END: usize = 7;

/// The medians of each step's time in milliseconds, as strace sees it. It stops the process at every call, and so
/// what makes many small calls looks longer than it is.
pub(crate) fn of(contender: &Contender, place: &Place, runs: usize) -> Result<[f64; 8]> {
    let mut times: [Vec<f64>; 8] = Default::default();
    for number in 0..runs {
        go_on()?;
        let file = place.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-ttt", "-s", "256", "-o"]).arg(&file).args(contender.words());
        strace.env("BYHAND_ROOT", place.state()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = strace.status().context("running strace: install it for --steps")?;
        ensure!(status.success(), "{} failed below strace: {status}, run {number}", contender.name);
        let trace = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        for (times, spent) in times.iter_mut().zip(spent(&trace)) {
            times.push(spent);
        }
    }
    Ok(times.map(|times| median(&times)))
}

/// A line of strace's: who, when (in seconds), and the call or what else happened.
struct Event<'a> {
    pid: &'a str,
    time: f64,
    what: &'a str,
}

/// Shares out the time of one run. At each moment one process is what all waits for: the first one until it waits for
/// the child, then the child until it has ended, then the first one again. The time from one call of that process to
/// its next counts for the first of the two.
fn spent(trace: &str) -> [f64; 8] {
    let events: Vec<Event<'_>> = trace.lines().filter_map(parse).collect();
    let mut spent = [0.0; 8];
    let Some(first) = events.first() else { return spent };
    let waits = |event: &&Event<'_>| {
        event.pid == first.pid
            && ["rt_sigtimedwait", "wait4", "waitid"].iter().any(|call| event.what.starts_with(call))
    };
    let wait = events.iter().find(waits).map_or(f64::MAX, |event| event.time);
    let ended = |event: &&Event<'_>| event.pid != first.pid && event.what.starts_with("+++");
    let end = events.iter().find(ended).map_or(f64::MAX, |event| event.time);
    let critical = events.iter().filter(|event| {
        let child = event.time >= wait && event.time <= end;
        !event.what.starts_with("<...") && (event.pid == first.pid) != child || event.time == end
    });
    let critical: Vec<_> = critical.collect();
    let mut step = START;
    for pair in critical.windows(2) {
        step = step_of(pair[0].what, step, pair[0].pid == first.pid);
        spent[step] += (pair[1].time - pair[0].time) * 1000.0;
    }
    spent
}

fn parse(line: &str) -> Option<Event<'_>> {
    let (pid, rest) = line.split_once(' ')?;
    let (time, what) = rest.trim_start().split_once(' ')?;
    Some(Event { pid, time: time.parse().ok()?, what })
}

/// What a call is part of. Where it does not tell, as close(2) does not, it is part of what the calls before it were.
fn step_of(call: &str, before: usize, parent: bool) -> usize {
    let has = |words: &[&str]| words.iter().any(|word| call.contains(word));
    let starts = |words: &[&str]| words.iter().any(|word| call.starts_with(word));
    if starts(&["execve"]) {
        return if parent { START } else { EXEC };
    }
    if starts(&["+++", "exit_group"]) || before == END && has(&["wait"]) {
        return END;
    }
    if before == EXEC {
        return EXEC; // from here on it is the command's own
    }
    if has(&["cgroup", "oom_control", "memory.events"]) || before == START && has(&["mountinfo"]) {
        CGROUP
    } else if starts(&["clone", "pipe2", "unshare(CLONE_NEWNS|"]) {
        CLONE
    } else if has(&["\"overlay\"", "containers", "/upper", "/merged"]) {
        LAYERS
    } else if starts(&["pivot_root", "umount2", "chdir"]) || has(&["MS_PRIVATE", "MS_BIND"]) {
        PIVOT
    } else if has(&["\"/proc\"", "\"/dev", "\"dev", "\"proc\""]) && !parent {
        DEVICES
    } else {
        before
    }
}

/// How long the kernel takes for a new network namespace, in milliseconds: most of what clone(2) takes.
pub(crate) fn network_namespace(runs: usize) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..runs {
        // In a thread of its own, and the namespace goes with it.
        let made = thread::spawn(|| {
            let began = Instant::now();
            unshare(CloneFlags::CLONE_NEWNET).map(|()| milliseconds(began.elapsed()))
        });
        let took = made.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?;
        times.push(took.context("making a network namespace")?);
    }
    Ok(median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_shared_out_along_the_critical_path() {
        let trace = "\
            1 0.000 execve(\"floor\", [\"floor\"]) = 0\n\
            1 0.010 mkdir(\"/sys/fs/cgroup/memory/floor-1\", 0755) = 0\n\
            1 0.012 clone(child_stack=0x1, flags=CLONE_NEWNS) = 2\n\
            2 0.013 read(3,  <unfinished ...>\n\
            1 0.020 write(4, \"!\", 1) = 1\n\
            1 0.021 wait4(2,  <unfinished ...>\n\
            2 0.022 <... read resumed>\"!\", 1) = 1\n\
            2 0.023 pivot_root(\".\", \".\") = 0\n\
            2 0.033 execve(\"/bin/true\", [\"/bin/true\"]) = 0\n\
            2 0.040 mount(\"whatever\") = 0\n\
            2 0.050 exit_group(0) = ?\n\
            2 0.060 +++ exited with 0 +++\n\
            1 0.061 <... wait4 resumed>) = 2\n\
            1 0.070 rmdir(\"/sys/fs/cgroup/memory/floor-1\") = 0\n\
            1 0.080 +++ exited with 0 +++\n";
        let spent = spent(trace).map(|time| time.round());
        assert_eq!(spent[START], 10.0);
        assert_eq!(spent[CGROUP], 2.0 + 10.0, "before, and after");
        assert_eq!(spent[EXEC], 17.0, "what the command itself calls is the command's");
        assert_eq!(spent[PIVOT], 10.0);
        assert_eq!(spent[END], 20.0);
        assert_eq!(spent.iter().sum::<f64>(), 80.0, "no time is lost or counted twice");
    }
}
