//! Containers with limits, and what the files of their cgroups say.

use anyhow::Result;

use crate::machine::hierarchy;
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

/// A container that does nothing, with these options.
pub(super) fn idle(lab: &Lab, options: &[&str]) -> Result<Running> {
    lab.run(["sleep", "1000"]).with(options).start()
}

/// What a file of the container's cgroup says. The container must be in that cgroup.
pub(super) fn file(run: &mut Running, controller: &str, name: &str) -> Result<String> {
    let hierarchy = hierarchy::required(controller)?;
    let cgroup = hierarchy.container(&run.id()?);
    let container = run.container()?;
    run.same("the command's cgroup to be", &cgroup, &hierarchy.of_process(container)?)?;
    hierarchy::read(&cgroup.join(name))
}

/// Runs a container with these options and compares a file of its cgroup, named as v1 and v2 have it.
pub(super) fn sets(
    lab: &Lab,
    options: &[&str],
    controller: &str,
    v1: (&str, &str),
    v2: (&str, &str),
) -> Result<()> {
    let (name, value) = if hierarchy::required(controller)?.v2 { v2 } else { v1 };
    let mut run = idle(lab, options)?;
    let saw = file(&mut run, controller, name)?;
    run.same(&format!("in the container's {name}"), value, &saw)?;
    run.kill_command()?.exits(137).map(drop)
}
