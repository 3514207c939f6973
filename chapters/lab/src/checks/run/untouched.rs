//! The host is as it was: its mount table, its /proc, its /dev.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use anyhow::Result;
use nix::mount::MsFlags;

use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::machine::mounts::propagation;
use crate::see;
use crate::trial::runtime::Lab;
use crate::trial::strace::{MOUNTS, each_failing};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "host-mounts-shared",
        Run,
        "The host's mount table is the same before, during and after, with / shared, as systemd has it.",
        host_mounts_shared,
    ),
    Check::new(
        "host-mounts-private",
        Run,
        "The host's mount table is the same before, during and after, with / private.",
        host_mounts_private,
    ),
    Check::new("host-proc-dev", Run, "The host's /proc and /dev work as before.", host_proc_dev),
    Check::new(
        "mount-fails",
        Run,
        "If any of its mounts fails, run returns 125 with one line and the command never runs.",
        mount_fails,
    ),
    Check::new(
        "hostname-fails",
        Run,
        "If the hostname cannot be set, run returns 125 and the command never runs.",
        hostname_fails,
    ),
];

/// Compares the mount table before, during and after a run that ends by itself, and one that fails.
fn mounts_stay(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("echo ready; cat").with(["-i"]).start()?;
    run.wrote("ready")?;
    lab.host_unchanged_but_unions(&format!("{} (while it ran)", run.line()))?;
    let outcome = run.finish()?;
    outcome.succeeds()?;
    lab.host_unchanged(&outcome.line)?;
    let mut run = lab.sh("echo ready; sleep 1000").start()?;
    run.wrote("ready")?;
    lab.host_unchanged_but_unions(&format!("{} (while it ran)", run.line()))?;
    lab.host_unchanged(&run.kill_command()?.line)?;
    lab.host_unchanged(&lab.run(["no-such-command"]).finish()?.line)
}

fn host_mounts_shared(lab: &Lab) -> Result<()> {
    mounts_stay(lab) // the lab's hosts are so anyway
}

fn host_mounts_private(lab: &Lab) -> Result<()> {
    propagation(MsFlags::MS_PRIVATE)?;
    lab.arranged()?;
    mounts_stay(lab)
}

fn host_proc_dev(lab: &Lab) -> Result<()> {
    let look = || -> Result<_> {
        let mut devices: Vec<_> = fs::read_dir("/dev")?.flatten().map(|entry| entry.file_name()).collect();
        devices.sort();
        let null = fs::metadata("/dev/null")?;
        let this = fs::read_link("/proc/self")?;
        Ok((devices, null.file_type().is_char_device(), null.mode(), null.rdev(), this))
    };
    let before = look()?;
    let outcome = lab.sh("echo x > /dev/null; echo 1 > /dev/full; ls /proc > /dev/null; exit 0").finish()?;
    outcome.exits(0)?;
    see::same(&outcome.line, "the host's /dev, /dev/null and /proc/self", before, look()?)
}

fn mount_fails(lab: &Lab) -> Result<()> {
    each_failing(lab, MOUNTS)
}

fn hostname_fails(lab: &Lab) -> Result<()> {
    each_failing(lab, "sethostname")
}
