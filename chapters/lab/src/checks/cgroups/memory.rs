//! `-m`: the memory controller.

use anyhow::Result;

use super::containers::{file, idle, own_cgroup, sets};
use crate::chapter::Chapter::Cgroups;
use crate::checks::check::Check;
use crate::machine::hierarchy;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new("memory-limit", Cgroups, "-m sets the memory limit, in bytes or with a unit.", memory_limit),
    Check::new("memory-swap", Cgroups, "-m limits swap along with memory.", memory_swap),
    Check::new(
        "memory-really",
        Cgroups,
        "A command that touches 200 MB under -m 100m is killed: 137, and stderr says that memory ran out.",
        memory_really,
    ),
    Check::new(
        "memory-enough",
        Cgroups,
        "A command that stays below its memory limit notices nothing.",
        memory_enough,
    ),
    Check::new(
        "limits-apart",
        Cgroups,
        "Two containers at once have a cgroup and a limit each.",
        limits_apart,
    ),
];

fn memory_limit(lab: &Lab) -> Result<()> {
    for (option, size, bytes) in [
        ("-m", "100m", "104857600"),
        ("--memory", "1g", "1073741824"),
        ("-m", "104857600", "104857600"),
        ("-m", "65536k", "67108864"),
        ("-m", "100M", "104857600"),
    ] {
        sets(lab, &[option, size], "memory", ("memory.limit_in_bytes", bytes), ("memory.max", bytes))?;
    }
    // Of two, the last.
    let (twice, bytes) = (["-m", "1g", "-m", "2g"], "2147483648");
    sets(lab, &twice, "memory", ("memory.limit_in_bytes", bytes), ("memory.max", bytes))
}

fn memory_swap(lab: &Lab) -> Result<()> {
    let options = ["-m", "100m"];
    let hierarchy = hierarchy::required("memory")?;
    let mut run = idle(lab, &options)?;
    let cgroup = own_cgroup(&mut run, &hierarchy)?;
    // Which of these there is depends on the kernel's version and configuration.
    let both = ("memory.memsw.limit_in_bytes", "104857600");
    let files =
        if hierarchy.v2 { vec![("memory.swap.max", "0")] } else { vec![both, ("memory.swappiness", "0")] };
    let Some((name, value)) = files.into_iter().find(|(name, _)| cgroup.join(name).exists()) else {
        run.kill_command()?;
        return Ok(()); // a kernel without swap
    };
    let saw = file(&mut run, "memory", name)?;
    run.same(&format!("in the container's {name}"), value, &saw)?;
    run.kill_command().map(drop)
}

fn memory_really(lab: &Lab) -> Result<()> {
    hierarchy::required("memory")?;
    // dd reads all of a block into memory before it writes it.
    let dd = |size| ["dd", "if=/dev/zero", "of=/dev/null", "count=1", size];
    let outcome = lab.run(dd("bs=200000000")).with(["-m", "100m"]).finish()?;
    outcome.exits(137)?.prints("")?;
    let error = outcome.error().to_lowercase();
    if !error.contains("memory") && !error.contains("oom") {
        return Err(outcome.differs("a line on stderr that tells of the OOM kill"));
    }
    Ok(())
}

fn memory_enough(lab: &Lab) -> Result<()> {
    hierarchy::required("memory")?;
    let dd = ["dd", "if=/dev/zero", "of=/dev/null", "count=1", "bs=20000000"];
    lab.run(dd).with(["-m", "100m"]).finish()?.exits(0)?;
    // Killed, but not by memory: nothing must be said about it.
    idle(lab, &["-m", "100m"])?.kill_command()?.exits(137)?.complains("")?;
    Ok(())
}

fn limits_apart(lab: &Lab) -> Result<()> {
    let name = if hierarchy::required("memory")?.v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let mut runs = [(idle(lab, &["-m", "100m"])?, "104857600"), (idle(lab, &["-m", "200m"])?, "209715200")];
    for (run, bytes) in &mut runs {
        let saw = file(run, "memory", name)?;
        run.same(&format!("with another container running, in {name}"), *bytes, &saw)?;
    }
    let [(mut one, _), (mut two, bytes)] = runs;
    let (first, second) =
        (hierarchy::of_container(one.container()?)?, hierarchy::of_container(two.container()?)?);
    let outcome = one.kill_command()?;
    hierarchy::all_gone(&outcome.line, &first)?;
    // The end of one leaves the other's limit alone.
    let saw = file(&mut two, "memory", name)?;
    two.same(&format!("after the other container's end, in {name}"), bytes, &saw)?;
    let outcome = two.kill_command()?;
    hierarchy::all_gone(&outcome.line, &second)
}
