//! SIGKILL at each system call of a start that nobody stays with: for `run -d` itself, for whoever keeps the container
//! then, and for the container's process 1. Afterwards nothing is lost, nothing is told wrongly, and nothing lives unseen.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::calls::{self, Call, all_right, part_of, some_of_each};
use super::own_cgroups::{OwnCgroups, same_paths};
use super::tracer::{self, Seen, What, Who};
use crate::chapter::Chapter::{Lifecycle, Network};
use crate::checks::check::Check;
use crate::see::{self, SOON};
use crate::trial::runtime::{Lab, Run};
use crate::trial::strace;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "detached-client-killed",
        Lifecycle,
        "If run -d is killed before any of its system calls, ps -a shows what has become of the container, and rm -f takes it away.",
        |lab| sweep(lab, Who::Parent),
    ),
    Check::new(
        "detached-keeper-killed",
        Lifecycle,
        "If who keeps a detached container is killed before any of its system calls, the container ends with it, and ps -a says so.",
        |lab| sweep(lab, Who::Helper),
    ),
    Check::new(
        "detached-child-killed",
        Lifecycle,
        "If the child of run -d is killed before any of its system calls, ps -a says so.",
        |lab| sweep(lab, Who::Child),
    ),
];

/// Of calls of one name, so many at most: each costs a start, and four more commands.
const MOST: usize = 4;

/// Which name the container has. The next one wants it too.
const NAME: &str = "one";

/// It prints a line, and ends at once.
const SHORT: &str = "echo line; exit 7";

/// It prints a line, and goes on. Nothing but its end is left then for anybody to wait for.
const LONG: &str = "echo line; exec sleep 12 > /dev/null 2>&1";

/// Half of that: so long nothing lives that is to die at once.
const TOO_LONG: Duration = Duration::from_secs(6);

fn run<'a>(lab: &'a Lab, script: &str) -> Run<'a> {
    // On a network, others may be beside the keeper, and the container outlives them. Those are network-killed's.
    let network = if lab.has(Network) { &["--network", "none"][..] } else { &[] };
    let options = ["-d", "--name", NAME, "-m", "100m"];
    lab.kept(["sh", "-c", script]).with(options).with(network).variable("RUST_BACKTRACE", "0")
}

fn sweep(lab: &Lab, who: Who) -> Result<()> {
    strace::required()?;
    let cgroups = OwnCgroups::new(lab, &["memory", "freezer"])?;
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once is made now
    let parts = parts(lab, who)?;
    let before = cgroups.list();
    let (mut count, mut hits, mut wrong) = (0, 0, Vec::new());
    for (script, call) in
        parts.iter().flat_map(|(script, calls)| calls.iter().map(move |call| (script, call)))
    {
        count += 1;
        match one_fault(lab, call, script) {
            Ok(hit) => hits += usize::from(hit),
            Err(error) => wrong.push((call, error)),
        }
        let left =
            nothing_is_left(lab).and_then(|()| same_paths(NAME, "the cgroups", &before, &cgroups.list()));
        left.unwrap_or_else(|error| wrong.push((call, error)));
    }
    println!("run -d: {count} calls, {hits} of them reached");
    all_right(&run(lab, SHORT).line(), &wrong)?;
    // Whoever waits does that now more often, now less.
    see::same("the sweep", "nearly all of the calls reached:", true, hits * 10 >= count * 9)
}

/// The calls to be killed at, each with what the container does meanwhile. While it runs and its keeper waits, it is one
/// that would go on.
fn parts(lab: &Lab, who: Who) -> Result<Vec<(&'static str, Vec<Call>)>> {
    let mut short = calls_of(lab, who, SHORT, "Exited (7)")?;
    if who != Who::Helper {
        return Ok(vec![(SHORT, part_of(&some_of_each(&short, MOST))?)]);
    }
    let mut start = calls_of(lab, who, &LONG.replace("12", "1"), "Exited (0)")?;
    start.truncate(last_wait(&start));
    let end = short.split_off(last_wait(&short));
    Ok(vec![(LONG, part_of(&some_of_each(&start, MOST))?), (SHORT, part_of(&some_of_each(&end, MOST))?)])
}

/// How many calls a keeper makes until it waits for the container's end, that one included.
fn last_wait(calls: &[Call]) -> usize {
    let named = |names: [&str; 2], call: &Call| names.contains(&call.name.as_str());
    let reaps = calls.iter().position(|call| named(["wait4", "waitid"], call)).unwrap_or(calls.len());
    calls[..reaps].iter().rposition(|call| named(["poll", "ppoll"], call)).map_or(reaps, |at| at + 1)
}

/// What one of the three calls if nothing goes wrong.
fn calls_of(lab: &Lab, who: Who, script: &str, end: &str) -> Result<Vec<Call>> {
    let seen = tracer::carry_out(run(lab, script), None, false, &|| {})?;
    let [one] = &lab.listed()?[..] else { return Err(seen.outcome.differs("one container in ps -a")) };
    see::same(&seen.outcome.line, "its status", end.to_string(), status(one))?;
    lab.says("rm", [NAME], "one\n")?;
    let mut own = calls::own(lab, &seen.calls, &calls::names(lab, &[], lab.run(["true"]))?)?;
    own.retain(|call| call.who == who);
    Ok(own)
}

/// The state as in the column STATUS, without the time.
fn status(one: &Value) -> String {
    let status = one["Status"].as_str().unwrap_or_default();
    status.split_inclusive(')').next().unwrap_or_default().to_string()
}

/// Starts a container and kills one of the three on the way. Returns whether it got that far.
fn one_fault(lab: &Lab, call: &Call, script: &str) -> Result<bool> {
    let Seen { outcome, hit, .. } =
        tracer::carry_out(run(lab, script), Some(call.fault(What::Kills)), false, &|| {})?;
    // Whoever was killed is gone.
    let began = Instant::now();
    let left = lab.mark().gone(2 * SOON);
    see::same(&outcome.line, "processes left:", 0, left.len())?;
    let lives_on = hit && began.elapsed() > TOO_LONG;
    see::same(&outcome.line, "the container to live on:", false, lives_on)?;
    let listed = lab.listed()?;
    match outcome.status.code() {
        Some(0) => {
            let id = listed.first().and_then(|one| one["ID"].as_str()).unwrap_or("no container");
            outcome.complains("")?.prints(format!("{id}\n"))?;
        }
        Some(_) => drop(outcome.refuses(&[125, 126, 127, 137])?),
        None => see::same(&outcome.line, "killed:", Who::Parent, call.who)?,
    }
    if let Some(one) = listed.first() {
        is_true(lab, call, hit, &status(one))?;
    }
    Ok(hit)
}

/// Whether what `ps -a` says of the container can be.
fn is_true(lab: &Lab, call: &Call, hit: bool, status: &str) -> Result<()> {
    let logs = lab.call("logs", [NAME]).finish()?;
    logs.succeeds()?;
    let can_be = match status {
        "Created" => logs.output().is_empty(),
        // With a status, all that it has printed is there.
        "Exited (7)" => logs.output() == "line\n" && !(hit && call.who == Who::Child),
        "Exited (0)" => logs.output() == "line\n" && !hit, // the long one, and its keeper never made that call
        "Exited (137)" => hit && call.who != Who::Parent,
        _ => false,
    };
    if can_be { Ok(()) } else { Err(logs.differs(format!("a state that can be, and not {status:?}"))) }
}

/// The container goes, its name is free, and the next one starts; and of that one nothing stays.
fn nothing_is_left(lab: &Lab) -> Result<()> {
    lab.call("rm", ["-f", NAME]).finish()?.exits(0)?;
    let next = lab.run(["true"]).with(["--name", NAME, "-m", "100m"]).finish()?;
    next.succeeds()?;
    see::same(&next.line, "containers left:", Vec::new(), lab.containers())
}
