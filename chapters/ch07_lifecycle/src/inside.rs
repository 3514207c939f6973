//! What the child does, from its first step to the command. clone(2) has made it, in new namespaces.

use std::convert::Infallible;
use std::process::exit;

use anyhow::{Context, Result};
use ch01_run::exec::exec;
use ch01_run::{messages, mounts, namespaces};
use ch03_pivot_root::rootfs;
use ch05_volumes::volumes;
use ch06_init::{filesystems, init};
use nix::mount::MsFlags;

use crate::asked::Plan;
use crate::ends::Inner;
use crate::groups::Groups;
use crate::lowers::Kept;
use crate::record::Record;
use crate::report::Report;
use crate::{descriptors, lowers};

/// Becomes the command of the container. If that fails, says why on the report, and ends with the status that says it.
pub fn become_command(plan: &Plan, record: &Record, groups: &Groups, inner: &Inner, report: Report) -> ! {
    if let Err(error) = prepare(plan, record, groups, inner, &report) {
        exit(report.tell(&error).into())
    }
    // With the report moved in: an init, which never executes anything, must not keep it open.
    let command = move || {
        let Err(error) = execute(plan, inner, &report);
        exit(report.tell(&error).into())
    };
    let Err(error) = if plan.asked.surroundings.init { init::become_init(command) } else { command() };
    exit(messages::fail(&error).into())
}

fn prepare(plan: &Plan, record: &Record, groups: &Groups, inner: &Inner, report: &Report) -> Result<()> {
    groups.join()?; // first, so that all we do counts, and while the cgroup files are in sight
    inner.enter()?;
    mounts::make_private()?;
    record.ensure_in_sight()?; // from now on nobody mounts anything on it here
    let kept = if plan.asked.keeping.remove { Kept::ToItsEnd } else { Kept::ForLong };
    // As the record has them now: since the plan was made, the container may have been given some files.
    let merged = lowers::mount(record, &lowers::read(record)?, kept)?;
    volumes::mount_all(&plan.volumes, &merged, &filesystems::PLACES)?;
    let mut ours = inner.descriptors();
    ours.push(report.descriptor());
    descriptors::close_others_but(&ours)?; // before any path is followed in the container's root
    rootfs::pivot(&merged)?;
    rootfs::mount_proc()?;
    plan.asked.surroundings.mount_all()?;
    namespaces::set_hostname(plan.hostname())?;
    plan.asked.process.make_workdir()?;
    if plan.asked.read_only {
        make_root_read_only()?; // nothing is made in there any more
    }
    inner.complete()
}

/// Lets nobody write in the root. The flag is this one mount's: those upon it stay as they are.
pub fn make_root_read_only() -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mounts::mount("", "/", "", flags, "").context("making / read-only")
}

fn execute(plan: &Plan, inner: &Inner, report: &Report) -> Result<Infallible> {
    inner.take_terminal()?;
    let mut environment = plan.environment.clone();
    plan.asked.process.become_user(&mut environment, report)?;
    exec(&plan.asked.command, &environment)
}
