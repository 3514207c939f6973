//! `--cpu-shares`, `--cpus`, `--cpuset-cpus`, `--cpuset-mems`: the cpu and cpuset controllers.

use anyhow::{Context, Result};

use super::containers::{file, idle, own_cgroup, sets};
use crate::chapter::Chapter::Cgroups;
use crate::checks::check::Check;
use crate::machine::hierarchy::{self, Hierarchy, numbers};
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "cpu-shares",
        Cgroups,
        "--cpu-shares sets cpu.shares, or on v2 the weight shares*100/1024 between 1 and 10000.",
        cpu_shares,
    ),
    Check::new(
        "cpus",
        Cgroups,
        "--cpus sets the quota to that many processors' time, halves and less too.",
        cpus,
    ),
    Check::new(
        "cpuset-cpus",
        Cgroups,
        "--cpuset-cpus lets the command run on these processors only.",
        cpuset_cpus,
    ),
    Check::new("cpuset-mems", Cgroups, "--cpuset-mems sets the memory nodes.", cpuset_mems),
    Check::new(
        "cpuset-mems-default",
        Cgroups,
        "With --cpuset-cpus alone the memory nodes are the parent's.",
        cpuset_mems_default,
    ),
    Check::new(
        "option-aliases",
        Cgroups,
        "--cpushare and --cpuset mean --cpu-shares and --cpuset-cpus.",
        option_aliases,
    ),
    Check::new("limits-together", Cgroups, "All limits can be given at once.", limits_together),
];

fn cpu_shares(lab: &Lab) -> Result<()> {
    for (shares, weight) in [("512", "50"), ("1024", "100"), ("2", "1"), ("262144", "10000")] {
        sets(lab, &["--cpu-shares", shares], "cpu", ("cpu.shares", shares), ("cpu.weight", weight))?;
    }
    Ok(())
}

/// Quota and period of a running container.
fn quota(run: &mut Running, hierarchy: &Hierarchy) -> Result<(f64, f64)> {
    let (quota, period) = if hierarchy.v2 {
        let both = file(run, "cpu", "cpu.max")?;
        let (quota, period) = both.split_once(' ').context("cpu.max has no period")?;
        (quota.to_string(), period.to_string())
    } else {
        (file(run, "cpu", "cpu.cfs_quota_us")?, file(run, "cpu", "cpu.cfs_period_us")?)
    };
    Ok((quota.parse().unwrap_or(-1.0), period.parse().unwrap_or(1.0)))
}

fn cpus(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("cpu")?;
    for cpus in ["0.5", "1", "0.25"] {
        let mut run = idle(lab, &["--cpus", cpus])?;
        let (quota, period) = quota(&mut run, &hierarchy)?;
        if (quota / period - cpus.parse::<f64>()?).abs() > 0.001 {
            return Err(run.differs(format!("quota/period = {cpus}"), format!("{quota}/{period}")));
        }
        run.kill_command()?;
    }
    Ok(())
}

/// The first processor or memory node that the host itself may use, and the whole list.
fn available(hierarchy: &Hierarchy, what: &str) -> Result<(String, String)> {
    let list = hierarchy
        .top(&format!("cpuset.{what}.effective"))
        .or_else(|_| hierarchy.top(&format!("cpuset.{what}")))?;
    let first = numbers(&list).first().copied().with_context(|| format!("no {what} in the root cpuset"))?;
    Ok((first.to_string(), list))
}

fn cpuset_cpus(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("cpuset")?;
    let (first, all) = available(&hierarchy, "cpus")?;
    for list in [first, all] {
        let mut run = idle(lab, &["--cpuset-cpus", &list])?;
        let saw = file(&mut run, "cpuset", "cpuset.cpus")?;
        run.same("in cpuset.cpus", numbers(&list), numbers(&saw))?;
        // What the scheduler makes of it.
        let allowed = run.container()?.status("Cpus_allowed_list").unwrap_or_default();
        run.same("in Cpus_allowed_list of /proc/PID/status", numbers(&list), numbers(&allowed))?;
        run.kill_command()?;
    }
    Ok(())
}

fn cpuset_mems(lab: &Lab) -> Result<()> {
    let (first, _) = available(&hierarchy::required("cpuset")?, "mems")?;
    let mut run = idle(lab, &["--cpuset-mems", &first])?;
    let saw = file(&mut run, "cpuset", "cpuset.mems")?;
    run.same("in cpuset.mems", numbers(&first), numbers(&saw))?;
    let allowed = run.container()?.status("Mems_allowed_list").unwrap_or_default();
    run.same("in Mems_allowed_list of /proc/PID/status", numbers(&first), numbers(&allowed))?;
    run.kill_command().map(drop)
}

fn cpuset_mems_default(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("cpuset")?;
    let (cpu, _) = available(&hierarchy, "cpus")?;
    let (_, mems) = available(&hierarchy, "mems")?;
    let mut run = idle(lab, &["--cpuset-cpus", &cpu])?;
    // On v2 an empty cpuset.mems means the parent's, so the effective list counts.
    let name = if hierarchy.v2 { "cpuset.mems.effective" } else { "cpuset.mems" };
    let saw = file(&mut run, "cpuset", name)?;
    run.same(&format!("in {name}"), numbers(&mems), numbers(&saw))?;
    run.kill_command().map(drop)
}

fn option_aliases(lab: &Lab) -> Result<()> {
    sets(lab, &["--cpushare", "512"], "cpu", ("cpu.shares", "512"), ("cpu.weight", "50"))?;
    let (first, _) = available(&hierarchy::required("cpuset")?, "cpus")?;
    let same = ("cpuset.cpus", first.as_str());
    sets(lab, &["--cpuset", &first], "cpuset", same, same)
}

fn limits_together(lab: &Lab) -> Result<()> {
    let (cpu, _) = available(&hierarchy::required("cpuset")?, "cpus")?;
    for controller in ["memory", "cpu", "pids"] {
        hierarchy::required(controller)?;
    }
    let options = [
        "-m",
        "100m",
        "--cpu-shares",
        "512",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        cpu.as_str(),
        "--pids-limit",
        "20",
        "--hostname",
        "box",
    ];
    let mut run = lab.sh("cat /proc/self/cgroup; exec sleep 1000").with(options).start()?;
    run.container()?;
    run.wrote("\n")?;
    for controller in ["memory", "cpu", "cpuset", "pids"] {
        own_cgroup(&mut run, &hierarchy::required(controller)?)?;
    }
    let cgroups = hierarchy::of_container(run.container()?)?;
    let outcome = run.kill_command()?;
    hierarchy::all_gone(&outcome.line, &cgroups)
}
