//! Containers with limits, and what the files of their cgroups say.

use std::path::PathBuf;

use anyhow::Result;

use crate::machine::hierarchy::{self, Hierarchy};
use crate::machine::process::Process;
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

/// A container that does nothing, with these options.
pub(super) fn idle(lab: &Lab, options: &[&str]) -> Result<Running> {
    lab.run(["sleep", "1000"]).with(options).start()
}

/// What a file of the container's cgroup says. Wherever it is: that the command is in it is what counts.
pub(super) fn file(run: &mut Running, controller: &str, name: &str) -> Result<String> {
    let hierarchy = hierarchy::required(controller)?;
    let cgroup = own_cgroup(run, &hierarchy)?;
    hierarchy::read(&cgroup.join(name))
}

/// Where the command is, which must not be where its caller is.
pub(super) fn own_cgroup(run: &mut Running, hierarchy: &Hierarchy) -> Result<PathBuf> {
    let cgroup = hierarchy.of_process(run.container()?)?;
    if cgroup == hierarchy.of_process(Process::this())? {
        return Err(
            run.differs("a cgroup of the container's own", format!("its caller's, {}", cgroup.display()))
        );
    }
    Ok(cgroup)
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
