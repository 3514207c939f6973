//! /dev: few devices, but real ones. null(4), random(4).

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Result;
use nix::sys::stat::{Mode, makedev, umask};

use crate::chapter::Chapter::PivotRoot;
use crate::checks::check::Check;
use crate::trial::runtime::Lab;
use crate::trial::strace::{MOUNTS, any_failing, each_failing_of};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "devices",
        PivotRoot,
        "/dev has null, zero, full, random, urandom and tty, each the real device, of mode 666.",
        devices,
    ),
    Check::new(
        "devices-work",
        PivotRoot,
        "What is written to /dev/null is gone, /dev/zero gives zeros, /dev/full is full.",
        devices_work,
    ),
    Check::new(
        "device-links",
        PivotRoot,
        "/dev/fd, stdin, stdout and stderr lead to the process's own descriptors.",
        device_links,
    ),
    Check::new(
        "devices-no-more",
        PivotRoot,
        "No device of the host's is in /dev, and no disk.",
        devices_no_more,
    ),
    Check::new(
        "device-fails",
        PivotRoot,
        "If a device cannot be made, run returns 125 and the command never runs.",
        device_fails,
    ),
];

const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

fn devices(lab: &Lab) -> Result<()> {
    let narrow = || {
        umask(Mode::from_bits_truncate(0o077));
        Ok(())
    };
    // The caller's umask must not show in the modes.
    for run in [lab.run(["sleep", "1000"]), lab.run(["sleep", "1000"]).prepared(narrow)] {
        let mut run = run.start()?;
        let container = run.container()?;
        for (name, major, minor) in DEVICES {
            let data = fs::metadata(container.path(&format!("/dev/{name}")))
                .map_err(|error| run.differs(format!("/dev/{name}, the device"), error))?;
            run.same(&format!("/dev/{name} a character device:"), true, data.file_type().is_char_device())?;
            run.same(&format!("the device number of /dev/{name}"), makedev(major, minor), data.rdev())?;
            run.same(&format!("the mode of /dev/{name}, in decimal,"), 0o666, data.mode() & 0o7777)?;
        }
        run.kill_command()?;
    }
    Ok(())
}

fn devices_work(lab: &Lab) -> Result<()> {
    let script = "echo x > /dev/null && cat /dev/null && [ -c /dev/null ] && head -c 3 /dev/zero && \
                  [ $(head -c 100 /dev/urandom | wc -c) = 100 ] && ! echo x 2> /dev/null > /dev/full";
    lab.sh(script).finish()?.succeeds()?.prints("\0\0\0")?;
    Ok(())
}

fn device_links(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let container = run.container()?;
    for (name, target) in LINKS {
        let link = fs::read_link(container.path(&format!("/dev/{name}"))).unwrap_or_default();
        run.same(&format!("/dev/{name} to lead to"), Path::new(target), &link)?;
    }
    run.kill_command()?;
    lab.sh("cat /dev/stdin; ls /dev/fd/0")
        .with(["-i"])
        .input("typed\n")
        .finish()?
        .succeeds()?
        .prints("typed\n/dev/fd/0\n")?;
    Ok(())
}

fn devices_no_more(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let devices = run.container()?.path("/dev");
    for entry in fs::read_dir(devices)?.flatten() {
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let expected = DEVICES.iter().any(|(device, ..)| name == *device);
        if kind.is_block_device() || (kind.is_char_device() && !expected) {
            return Err(run.differs("no other devices in /dev", format!("{name:?}")));
        }
    }
    run.kill_command().map(drop)
}

fn device_fails(lab: &Lab) -> Result<()> {
    let run = || lab.sh("[ -c /dev/zero ] && [ -c /dev/tty ] && echo the command ran");
    // A pattern, for the C library may use mknod or mknodat. And a runtime may mount the host's devices instead.
    if any_failing(lab, "/^mknod", run)? { Ok(()) } else { each_failing_of(lab, MOUNTS, run) }
}
