//! `lab check` on machines that are arranged in other ways than most.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs one check in a mount namespace of its own, in which `arrange`, a shell's line, was done before.
fn checked(arrange: &str) -> Output {
    let lab = Path::new(env!("CARGO_BIN_EXE_lab"));
    let script = format!("{arrange} || exit 99\nexec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(lab).args([
        "check",
        "1",
        "no-command",
        "--runtime",
        "/bin/false",
    ]);
    let own = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        Ok(mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?)
    };
    // SAFETY: two system calls, with constants.
    unsafe { command.pre_exec(own) };
    command.output().unwrap()
}

fn is_root() -> bool {
    if !geteuid().is_root() {
        println!("skipped: only root can mount");
    }
    geteuid().is_root()
}

#[test]
fn a_proc_that_is_covered_is_named() {
    if !is_root() {
        return;
    }
    let output = checked("mount -t tmpfs none /proc");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("findmnt /proc"), "{said}");
}

#[test]
fn a_hierarchy_that_is_mounted_twice_is_taken_once() {
    if !is_root() {
        return;
    }
    let table = std::fs::read_to_string("/proc/mounts").unwrap();
    let hierarchy =
        table.lines().find(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")));
    let Some(point) = hierarchy.and_then(|line| line.split(' ').nth(1)) else {
        println!("skipped: no cgroups are mounted here");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let output = checked(&format!("mount --bind {point} {}", directory.path().display()));
    // The check is red, for /bin/false says nothing; it is the lab that must be able to find out.
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
}
