//! `update`: other limits for a container that is there already.

use std::path::PathBuf;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::hierarchy::{self, Hierarchy};
use crate::machine::process::Process;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "update",
        Lifecycle,
        "update changes limits while the container runs, down and up again, and those alone that it's told.",
        while_it_runs,
    )
    .exercise("update"),
    Check::new(
        "update-started",
        Lifecycle,
        "What update has changed holds after the next start, too, and for one that has ended.",
        started,
    )
    .exercise("update"),
    Check::new(
        "update-bad",
        Lifecycle,
        "An update of nothing, of what is no limit, or of what nothing counts is refused, and changes nothing.",
        bad,
    )
    .exercise("update"),
];

/// The container's own cgroup in a hierarchy.
fn group(one: &Kept<'_>, hierarchy: &Hierarchy) -> Result<PathBuf> {
    let group = hierarchy.of_process(one.process()?)?;
    if group == hierarchy.of_process(Process::this())? {
        return Err(one.differs("a cgroup of the container's own", "its caller's"));
    }
    Ok(group)
}

/// The container's limits, of memory and of processes, as the kernel has them. With swap, if that is counted along.
fn limits(one: &Kept<'_>) -> Result<(Vec<String>, String)> {
    let (memory, pids) = (hierarchy::required("memory")?, hierarchy::required("pids")?);
    let group_of_memory = group(one, &memory)?;
    let names: &[&str] =
        if memory.v2 { &["memory.max"] } else { &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] };
    let files = names.iter().map(|name| group_of_memory.join(name)).filter(|path| path.exists());
    let of_memory = files.map(|path| hierarchy::read(&path)).collect::<Result<_>>()?;
    Ok((of_memory, hierarchy::read(&group(one, &pids)?.join("pids.max"))?))
}

/// Fails unless these are the limits.
fn has(one: &Kept<'_>, did: &str, memory: u64, pids: &str) -> Result<()> {
    let (of_memory, of_pids) = limits(one)?;
    let bytes = (memory << 20).to_string();
    see::same(did, "its limits of memory", vec![bytes; of_memory.len()], of_memory)?;
    see::same(did, "its limit of processes", pids.to_string(), of_pids)
}

fn updates(lab: &Lab, one: &Kept<'_>, options: &[&str]) -> Result<()> {
    let words = options.iter().copied().chain([one.id()]);
    lab.says("update", words, &format!("{}\n", one.id()))
}

fn limited(lab: &Lab) -> Result<Kept<'_>> {
    lab.kept(["sleep", "1000"]).with(["-m", "100m", "--pids-limit", "20"]).detach()
}

fn while_it_runs(lab: &Lab) -> Result<()> {
    let one = limited(lab)?;
    has(&one, one.line(), 100, "20")?;
    let process = one.process()?;
    updates(lab, &one, &["-m", "60m"])?;
    has(&one, "update -m 60m", 60, "20")?;
    updates(lab, &one, &["--memory", "200m"])?;
    has(&one, "update --memory 200m", 200, "20")?;
    updates(lab, &one, &["--pids-limit", "3"])?;
    has(&one, "update --pids-limit 3", 200, "3")?;
    let script = "for n in 1 2 3 4; do sleep 5 & done; wait";
    let outcome = lab.call("exec", [one.id(), "sh", "-c", script]).finish()?;
    if !outcome.error().contains("fork") {
        return Err(outcome.differs("a fork that the new limit refuses"));
    }
    updates(lab, &one, &["-m", "50m", "--pids-limit", "30"])?;
    has(&one, "update -m 50m --pids-limit 30", 50, "30")?;
    see::same(one.line(), "process 1, after all these:", process, one.process()?)?;
    one.remove()
}

fn started(lab: &Lab) -> Result<()> {
    let one = limited(lab)?;
    updates(lab, &one, &["-m", "60m"])?;
    one.process()?.signal(Signal::SIGKILL);
    one.exits(137)?;
    updates(lab, &one, &["--pids-limit", "12"])?; // now that it does not run
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    has(&one, "update and start", 60, "12")?;
    one.remove()?;
    see::same("rm -f", "what is left:", Vec::new(), lab.containers())
}

fn bad(lab: &Lab) -> Result<()> {
    let one = limited(lab)?;
    updates(lab, &one, &["-m", "60m"])?; // else everything would be refused
    let outcome = lab.call("update", [one.id()]).finish()?;
    outcome.refuses(&[1, 2, 125])?;
    for option in [["-m", "much"], ["-m", "1k"], ["--pids-limit", "0"], ["--pids-limit", "few"]] {
        let words = option.into_iter().chain([one.id()]);
        lab.call("update", words).finish()?.refuses(&[1, 2, 125])?;
    }
    has(&one, "update with bad options", 60, "20")?;
    lab.refuses("update", ["-m", "50m", "nobody"], "nobody")?;
    // It was not asked for then, so in version 1 it's not counted, and can't be limited for those that run.
    let two = lab.kept(["sleep", "1000"]).detach()?;
    let outcome = lab.call("update", ["-m", "50m", two.id()]).finish()?;
    let now = outcome.status.success();
    if !now {
        outcome.refuses(&[1])?;
    }
    two.process()?.signal(Signal::SIGKILL);
    two.exits(137)?;
    lab.says("start", [two.id()], &format!("{}\n", two.id()))?;
    let hierarchy = hierarchy::required("memory")?;
    let limit = if hierarchy.v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let text = hierarchy::read(&hierarchy.of_process(two.process()?)?.join(limit)).unwrap_or_default();
    see::same(&outcome.line, "after it and start, the limit to be the new one:", now, text == "52428800")
}
