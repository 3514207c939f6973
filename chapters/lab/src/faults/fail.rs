//! Each system call fails once, with each error that it can fail with.

use std::collections::BTreeMap;

use anyhow::Result;
use nix::errno::Errno;

use super::calls::{Call, all_right};
use super::scene::{Aftermath, Scene};
use super::tracer::{What, Who};
use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "every-call-eperm",
        Run,
        "Whichever call fails with EPERM, the command runs as asked or not at all, and nothing is left.",
        |lab| every_call(lab, Errno::EPERM),
    )
    .without_container(),
    Check::new(
        "every-call-enospc",
        Run,
        "Whichever call fails with ENOSPC, the command runs as asked or not at all, and nothing is left.",
        |lab| every_call(lab, Errno::ENOSPC),
    )
    .without_container(),
    Check::new(
        "every-call-eintr",
        Run,
        "Whichever call is interrupted, the command runs as asked or not at all, and nothing is left.",
        |lab| every_call(lab, Errno::EINTR),
    )
    .without_container(),
];

/// Calls that have no way to fail, by their manual pages.
const NEVER_FAIL: [&str; 10] = [
    "geteuid",
    "getuid",
    "getegid",
    "getgid",
    "getpid",
    "getpgrp",
    "gettid",
    "umask",
    "exit_group",
    "rt_sigreturn",
];

/// Calls for memory. Without memory Rust aborts: that is the same as being killed there, which is another check.
const MEMORY: [&str; 6] = ["brk", "mmap", "munmap", "mremap", "mprotect", "madvise"];

/// The C library's own, for threads: of errors that don't come it knows nothing, and aborts or waits for ever.
const THREADS: [&str; 2] = ["futex", "rseq"];

/// Calls whose manual pages list EINTR.
const INTERRUPTIBLE: [&str; 21] = [
    "open",
    "openat",
    "openat2",
    "close",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "flock",
    "wait4",
    "waitid",
    "poll",
    "ppoll",
    "rt_sigtimedwait",
    "dup2",
    "dup3",
    "statfs",
    "fstatfs",
    "getrandom",
    "ftruncate",
    "ioctl",
];

/// Calls that only ask whether something is there, and what it is.
const LOOKS: [&str; 8] =
    ["stat", "lstat", "statx", "newfstatat", "access", "faccessat", "faccessat2", "readlink"];

/// Whether a call can fail with this error.
pub(super) fn can_fail(call: &Call, errno: Errno) -> bool {
    let name = call.name.as_str();
    match errno {
        _ if [&NEVER_FAIL[..], &MEMORY, &THREADS].concat().contains(&name) => false,
        Errno::EINTR => INTERRUPTIBLE.contains(&name),
        // Of these errors they have only EINTR. (sigwait(3) could not even pass on another.)
        _ => name != "close" && name != "rt_sigtimedwait",
    }
}

/// What the line on stderr has in it. A look that failed may be taken for a look that saw nothing, and lead to an error with
/// another reason.
pub(super) fn reason(call: &Call, errno: Errno) -> String {
    if LOOKS.contains(&call.name.as_str()) { "(E".to_string() } else { format!("({errno:?})") }
}

fn every_call(lab: &Lab, errno: Errno) -> Result<()> {
    Scene::each_kind(lab, |scene, calls| {
        let mut table: BTreeMap<(Who, &str), Vec<Aftermath>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for call in calls.iter().filter(|call| can_fail(call, errno)) {
            match one(scene, call, errno) {
                Ok(aftermath) => table.entry((call.who, &call.name)).or_default().push(aftermath),
                Err(error) => {
                    wrong.push((call, error));
                    scene.recover();
                }
            }
        }
        tell(scene, errno, &table);
        all_right(&scene.line(), &wrong)
    })
}

fn one(scene: &Scene<'_>, call: &Call, errno: Errno) -> Result<Aftermath> {
    let seen = scene.carry_out(Some(call.fault(What::Fails(errno))))?;
    let did = &seen.outcome.line;
    if !seen.hit && scene.may_miss(call) {
        return Ok(Aftermath::NotReached);
    }
    see::same(did, "the call to be made:", true, seen.hit)?;
    let aftermath = scene.aftermath(&seen.outcome, Some(&reason(call, errno)))?;
    scene.no_process_left(did)?;
    if call.name != "ioctl" {
        scene.terminal_is_as_before(did)?;
    }
    if aftermath != Aftermath::RanWithError {
        scene.lab.host_unchanged(did)?;
    } else {
        scene.lab.host_unchanged_but_unions(did)?;
        // It was a step of the clean-up that failed, and the next run has to do it.
        scene.aftermath(&scene.carry_out_well()?, None)?;
        scene.host_is_as_before(did)?;
    }
    scene.nothing_is_left(did)?;
    Ok(aftermath)
}

/// The table for the log: how often each call was made, and what came of its failing each time.
fn tell(scene: &Scene<'_>, errno: Errno, table: &BTreeMap<(Who, &str), Vec<Aftermath>>) {
    let count =
        |aftermaths: &[Aftermath], which| aftermaths.iter().filter(|aftermath| **aftermath == which).count();
    let mut text = format!(
        "{:?}, {}, {errno:?}: r refused, . ran as asked, e ran and told of an error, - not reached\n",
        scene.lab.chapter(),
        scene.kind.described()
    );
    let mut total = 0;
    for ((who, name), aftermaths) in table {
        let marks: String = aftermaths
            .iter()
            .map(|aftermath| match aftermath {
                Aftermath::Refused => 'r',
                Aftermath::Ran => '.',
                Aftermath::RanWithError => 'e',
                Aftermath::NotReached => '-',
            })
            .collect();
        let who = format!("{who:?}").to_lowercase();
        text += &format!("  {who:6} {name:16} {:4}  {marks}\n", aftermaths.len());
        total += aftermaths.len();
    }
    let all: Vec<_> = table.values().flatten().copied().collect();
    text += &format!(
        "  {total} faults: {} refused, {} ran as asked, {} ran and told of an error, {} not reached\n",
        count(&all, Aftermath::Refused),
        count(&all, Aftermath::Ran),
        count(&all, Aftermath::RanWithError),
        count(&all, Aftermath::NotReached)
    );
    println!("{text}");
}
