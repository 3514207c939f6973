//! SIGKILL at each system call: for `run` itself, which cannot clean up any more, and for its child.

use anyhow::Result;
use nix::sys::signal::Signal;

use super::calls::{Call, all_right};
use super::scene::{Aftermath, Kind, Scene};
use super::tracer::{What, Who};
use crate::chapter::Chapter::{Init, Lifecycle, Run};
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "parent-killed-anywhere",
        Run,
        "Killed before any of its system calls, run leaves nothing that the next one does not take away.",
        parent_killed,
    )
    .without_container(),
    Check::new(
        "child-killed-anywhere",
        Run,
        "If the child is killed before any of its system calls, run ends with 137 and leaves nothing.",
        child_killed,
    )
    .without_container(),
    Check::new(
        "carrier-killed-anywhere",
        Init,
        "If a process of the runtime's that copies for a terminal is killed, run says so, ends with 125, and leaves nothing.",
        carrier_killed,
    )
    .until(Init)
    .without_container(),
    Check::new(
        "keeper-killed-anywhere",
        Lifecycle,
        "If who keeps the container is killed before any of its system calls, run says so, ends with 125, and leaves nothing that the next one does not take away.",
        keeper_killed,
    )
    .without_container(),
    Check::new(
        "cleaners-at-once",
        Run,
        "Ten runs that find the leftovers of killed ones take them away together, and all work.",
        cleaners,
    ),
];

fn each_call(
    scene: &Scene<'_>,
    calls: &[Call],
    who: Who,
    one: fn(&Scene<'_>, &Call) -> Result<()>,
) -> Result<()> {
    let mut wrong = Vec::new();
    let calls: Vec<_> = calls.iter().filter(|call| call.who == who).collect();
    for call in &calls {
        if let Err(error) = one(scene, call) {
            wrong.push((*call, error));
            scene.recover();
        }
    }
    println!(
        "{:?}, {}: {} killed before each of {} calls",
        scene.lab.chapter(),
        scene.kind.described(),
        format!("{who:?}").to_lowercase(),
        calls.len()
    );
    all_right(&scene.line(), &wrong)
}

fn parent_killed(lab: &Lab) -> Result<()> {
    Scene::each_kind(lab, |scene, calls| {
        if scene.kind != Kind::Usual {
            return each_call(scene, calls, Who::Parent, parent_killed_at);
        }
        let living = scene.start_living()?;
        each_call(scene, calls, Who::Parent, parent_killed_at)?;
        living.map_or(Ok(()), |living| living.kill_command()?.exits(137).map(drop))
    })
}

fn parent_killed_at(scene: &Scene<'_>, call: &Call) -> Result<()> {
    let seen = scene.carry_out(Some(call.fault(What::Kills)))?;
    let did = &seen.outcome.line;
    if !seen.hit && scene.may_miss(call) {
        return Ok(());
    }
    see::same(did, "the call to be made:", true, seen.hit)?;
    scene.no_process_left(did)?;
    scene.lab.host_unchanged_but_unions(did)?;
    // The next run takes away what is left.
    let next = scene.carry_out_well()?;
    see::same(did, "the next run to be", Aftermath::Ran, scene.aftermath(&next, None)?)?;
    scene.host_is_as_before(did)?;
    scene.nothing_is_left(did)
}

/// What killed runs leave is taken away by many others at once, and what is alive stays.
fn cleaners(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let mut scene = Scene::new(lab, Kind::Usual)?;
    let living = scene.start_living()?;
    for round in 0..5 {
        let dead = (0..5).map(|_| scene.start_idle()).collect::<Result<Vec<_>>>()?;
        for mut run in dead {
            run.container()?;
            run.signal(Signal::SIGKILL);
            run.finish()?;
        }
        scene.no_process_left("killing five runs")?;
        let runs = (0..10).map(|_| scene.start()).collect::<Result<Vec<_>>>()?;
        for run in runs {
            let outcome = run.finish()?;
            scene.ran(&outcome)?;
        }
        let did = format!("ten runs at once after five that were killed, for the {}. time", round + 1);
        scene.host_is_as_before(&did)?;
        scene.nothing_is_left(&did)?;
    }
    living.map_or(Ok(()), |living| living.kill_command()?.exits(137).map(drop))
}

fn child_killed(lab: &Lab) -> Result<()> {
    Scene::each_kind(lab, |scene, calls| each_call(scene, calls, Who::Child, child_killed_at))
}

fn child_killed_at(scene: &Scene<'_>, call: &Call) -> Result<()> {
    let seen = scene.carry_out(Some(call.fault(What::Kills)))?;
    let did = &seen.outcome.line;
    if !seen.hit && scene.may_miss(call) {
        return Ok(());
    }
    see::same(did, "the call to be made:", true, seen.hit)?;
    seen.outcome.exits(137)?.complains("")?;
    scene.printed_no_more(&seen.outcome)?;
    scene.host_is_as_before(did)?;
    scene.terminal_is_as_before(did)?;
    scene.nothing_is_left(did)
}

fn carrier_killed(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, Kind::AtTerminal)?;
    each_call(&scene, &scene.calls, Who::Helper, carrier_killed_at)
}

fn carrier_killed_at(scene: &Scene<'_>, call: &Call) -> Result<()> {
    let seen = scene.carry_out(Some(call.fault(What::Kills)))?;
    if !seen.hit && scene.may_miss(call) {
        return Ok(());
    }
    let did = &seen.outcome.line;
    scene.aftermath(&seen.outcome, Some("killed"))?;
    scene.host_is_as_before(did)?;
    scene.terminal_is_as_before(did)?;
    scene.nothing_is_left(did)
}

fn keeper_killed(lab: &Lab) -> Result<()> {
    Scene::each_kind(lab, |scene, calls| each_call(scene, calls, Who::Helper, keeper_killed_at))
}

fn keeper_killed_at(scene: &Scene<'_>, call: &Call) -> Result<()> {
    let seen = scene.carry_out(Some(call.fault(What::Kills)))?;
    if !seen.hit && scene.may_miss(call) {
        return Ok(());
    }
    let did = &seen.outcome.line;
    see::same(did, "the call to be made:", true, seen.hit)?;
    // It may have told the container's status already.
    scene.aftermath(&seen.outcome, Some("killed"))?;
    scene.no_process_left(did)?;
    scene.terminal_is_as_before(did)?;
    scene.lab.host_unchanged(did)?;
    let next = scene.carry_out_well()?;
    see::same(did, "the next run to be", Aftermath::Ran, scene.aftermath(&next, None)?)?;
    scene.host_is_as_before(did)?;
    scene.nothing_is_left(did)
}
