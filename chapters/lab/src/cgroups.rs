//! Chapter 2: limits, in force before the command's first instruction, and gone with the container.

mod bad_limits;
mod cpu;
mod life;
mod memory;
mod pids;

use anyhow::Result;

use crate::Check;
use crate::hierarchy;
use crate::running::Running;
use crate::runtime::Lab;

pub(crate) const CHECKS: &[&[Check]] =
    &[memory::CHECKS, cpu::CHECKS, pids::CHECKS, life::CHECKS, bad_limits::CHECKS];

/// A container that does nothing, with these options.
fn idle<'a>(lab: &'a Lab, options: &[&str]) -> Result<Running<'a>> {
    lab.run(["sleep", "1000"]).with(options).start()
}

/// The id of a running container: its hostname, unless it was given another.
fn id(run: &mut Running<'_>) -> Result<String> {
    let environment = run.container()?.environment()?;
    let name = environment.get("HOSTNAME").cloned();
    name.ok_or_else(|| run.differs("the container's id in HOSTNAME", "no such variable"))
}

/// What a file of the container's cgroup says. The container must be in that cgroup.
fn file(run: &mut Running<'_>, controller: &str, name: &str) -> Result<String> {
    let hierarchy = hierarchy::required(controller)?;
    let cgroup = hierarchy.container(&id(run)?);
    let container = run.container()?;
    run.same("the command's cgroup to be", &cgroup, &hierarchy.of_process(container)?)?;
    hierarchy::read(&cgroup.join(name))
}

/// Runs a container with these options and compares a file of its cgroup, named as v1 and v2 have it.
fn sets(lab: &Lab, options: &[&str], controller: &str, v1: (&str, &str), v2: (&str, &str)) -> Result<()> {
    let (name, value) = if hierarchy::required(controller)?.v2 { v2 } else { v1 };
    let mut run = idle(lab, options)?;
    let saw = file(&mut run, controller, name)?;
    run.same(&format!("in the container's {name}"), value, &saw)?;
    run.kill_command()?.exits(137).map(drop)
}
