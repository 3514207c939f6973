//! What programs expect in /dev and /sys, and directories in memory.

use std::fs::{self, File};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::chapter::Chapter::{Init, Network};
use crate::checks::check::Check;
use crate::checks::volumes::sources::volume;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new("dev-shm", Init, "/dev/shm is a tmpfs of 64 MB and mode 1777: nosuid, nodev, noexec.", shm),
    Check::new(
        "shm-size",
        Init,
        "--shm-size makes /dev/shm that large; what is no size is refused.",
        shm_size,
    ),
    Check::new(
        "dev-mqueue",
        Init,
        "/dev/mqueue has the message queues of the container's IPC namespace.",
        mqueue,
    ),
    Check::new(
        "sys-read-only",
        Init,
        "/sys is there, shows the container's network devices, and can only be read: nosuid, nodev, noexec.",
        sys,
    ),
    Check::new(
        "tmpfs-mounted",
        Init,
        "--tmpfs DST mounts a tmpfs there: nosuid, nodev, noexec; size, mode and the like can be said.",
        tmpfs,
    ),
    Check::new("tmpfs-nested", Init, "Of several --tmpfs none hides another, whatever their order.", nested),
    Check::new(
        "tmpfs-bad",
        Init,
        "A --tmpfs on no absolute path, on /, /proc, /dev or /sys, or with an unknown option is refused.",
        bad,
    ),
    Check::new(
        "tmpfs-and-volume",
        Init,
        "A volume that /sys or a --tmpfs would cover is refused; a --tmpfs within a volume is none of that.",
        and_volume,
    ),
];

fn shm(lab: &Lab) -> Result<()> {
    let script = "grep ' /dev/shm ' /proc/mounts | cut -d ' ' -f 3,4; stat -c %a /dev/shm; df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    let outcome = lab.sh(script).finish()?;
    let output = outcome.succeeds()?.output();
    let all = ["tmpfs rw", "nosuid", "nodev", "noexec", "\n1777\n65536\n"];
    if all.iter().all(|part| output.contains(part)) {
        Ok(())
    } else {
        Err(outcome.differs(format!("{all:?}")))
    }
}

fn shm_size(lab: &Lab) -> Result<()> {
    let size = "df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    lab.sh(size).with(["--shm-size", "1m"]).finish()?.succeeds()?.prints("1024\n")?;
    lab.sh(size).with(["--shm-size", "128m"]).finish()?.succeeds()?.prints("131072\n")?;
    for bad in ["0", "x", "-1", "", "1x", "99999999999999999999g"] {
        lab.run(["true"]).with(["--shm-size", bad]).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn mqueue(lab: &Lab) -> Result<()> {
    // A queue is a file there: one of the host's, and one that the container makes.
    let hosts = lab.folder("queues")?;
    mount(Some("mqueue"), &hosts, Some("mqueue"), MsFlags::empty(), None::<&str>)
        .context("mounting mqueue")?;
    lab.arranged()?;
    let theirs = format!("lab-{}", std::process::id());
    File::create_new(hosts.join(&theirs)).context("making a message queue")?;
    let script =
        "grep ' /dev/mqueue ' /proc/mounts | cut -d ' ' -f 3; touch /dev/mqueue/inner; ls /dev/mqueue";
    let outcome = lab.sh(script).finish();
    fs::remove_file(hosts.join(theirs)).context("removing a message queue")?;
    let escaped = fs::remove_file(hosts.join("inner")).is_ok();
    let outcome = outcome?;
    outcome.succeeds()?.prints("mqueue\ninner\n")?;
    see::same(&outcome.line, "a queue of the container's to be on the host:", false, escaped)
}

fn sys(lab: &Lab) -> Result<()> {
    let script = "ls /sys/class/net; mkdir /sys/x 2>/dev/null || echo refused; echo 1 > /sys/class/net/lo/tx_queue_len && echo written; grep -c ' /sys sysfs ro,nosuid,nodev,noexec' /proc/mounts";
    let devices = if lab.has(Network) { "eth0\nlo\n" } else { "lo\n" };
    lab.sh(script).finish()?.prints(format!("{devices}refused\n1\n")).map(drop)
}

fn tmpfs(lab: &Lab) -> Result<()> {
    let mounted = "grep ' /run ' /proc/mounts | cut -d ' ' -f 3,4; stat -c %a /run; touch /run/file";
    let outcome = lab.sh(mounted).with(["--tmpfs", "/run"]).finish()?;
    let output = outcome.succeeds()?.output();
    let all = ["tmpfs rw", "nosuid", "nodev", "noexec", "1777"];
    if !all.iter().all(|part| output.contains(part)) {
        return Err(outcome.differs(format!("{all:?}")));
    }
    let options = "/etc:size=1m,mode=700,exec";
    let outcome = lab.sh("ls /etc | wc -l; stat -c %a /etc; df -k /etc | tail -n 1 | awk '{print $2}'; grep -c ' /etc tmpfs .*noexec' /proc/mounts").with(["--tmpfs", options]).finish()?;
    outcome.prints("0\n700\n1024\n0\n")?;
    let script = "stat -c %a /deep; touch /deep/er/x";
    lab.sh(script).with(["--tmpfs", "/deep/er:ro"]).finish()?.exits(1)?.prints("755\n").map(drop)
}

fn nested(lab: &Lab) -> Result<()> {
    let count = "grep -c '^tmpfs /a' /proc/mounts; ls /a";
    let outcome = lab.sh(count).with(["--tmpfs", "/a/b", "--tmpfs", "/a"]).finish()?;
    outcome.succeeds()?.prints("2\nb\n").map(drop)
}

fn bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--tmpfs", "/good"]).finish()?.succeeds()?;
    for bad in [
        "run",
        "",
        "/",
        "/a/../b",
        "/proc",
        "/dev/",
        "/sys",
        "/a:size",
        "/a:lowerdir=/etc",
        "/a:no-such-option",
    ] {
        lab.run(["true"]).with(["--tmpfs", bad]).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn and_volume(lab: &Lab) -> Result<()> {
    let missing = lab.path("not-there");
    let outcome = lab.run(["true"]).with(volume(&missing, "/sys/data")).finish()?;
    outcome.refuses(&[125])?;
    if missing.exists() {
        return Err(outcome.differs("no SRC made"));
    }
    let source = lab.folder("there")?;
    for (target, tmpfs) in [("/a/data", "/a"), ("/a", "/a")] {
        lab.run(["true"]).with(volume(&source, target)).with(["--tmpfs", tmpfs]).finish()?.refuses(&[125])?;
    }
    // The other way round nothing is hidden: a directory in memory within a volume.
    let script = "touch /b/c/file; ls /b; grep -c ' /b/c tmpfs ' /proc/mounts";
    lab.sh(script)
        .with(volume(&source, "/b"))
        .with(["--tmpfs", "/b/c"])
        .finish()?
        .succeeds()?
        .prints("c\n1\n")?;
    lab.sh("ls /b/c").with(volume(&source, "/b")).finish()?.succeeds()?.prints("").map(drop)
}
