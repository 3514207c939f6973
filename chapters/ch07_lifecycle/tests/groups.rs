//! The cgroups of a kept container: frozen, thawed, found again, killed, and swept when their keeper was killed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::mem::forget;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ch01_run::id;
use ch02_cgroups::limits::Limits;
use ch07_lifecycle::groups::{self, Groups};

/// One test at a time: each sweeps what nobody holds, and the other's leftover is nobody's.
static ALONE: Mutex<()> = Mutex::new(());

/// `sleep`, in these cgroups.
fn sleeper(id: &str) -> Child {
    let id = id.to_string();
    let mut command = Command::new("sleep");
    let join = move || Groups::open(&id).and_then(|groups| groups.join()).map_err(std::io::Error::other);
    // SAFETY: the child only opens and writes a few files, and this test has one thread at that moment but for the harness's,
    // which waits.
    unsafe { command.arg("1000").pre_exec(join) };
    command.spawn().unwrap()
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "not within five seconds");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_container_is_frozen_found_and_killed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let id = id::random().unwrap();
    let made = Groups::create(&id, &Limits::default()).unwrap();
    let mut child = sleeper(&id);
    let found = Groups::open(&id).unwrap();
    assert_eq!(found.processes().unwrap()[0].as_raw() as u32, child.id());
    assert_eq!((found.processes().unwrap().len(), found.count_threads().unwrap()), (1, 1));

    assert!(!groups::is_frozen(&id).unwrap());
    found.freeze().unwrap();
    assert!(groups::is_frozen(&id).unwrap());
    child.kill().unwrap();
    found.thaw().unwrap();
    assert!(!groups::is_frozen(&id).unwrap());
    child.wait().unwrap();

    let mut child = sleeper(&id);
    found.freeze().unwrap();
    found.kill().unwrap();
    child.wait().unwrap();
    made.remove().unwrap();
    assert!(Groups::open(&id).unwrap().processes().unwrap().is_empty());
    assert!(!groups::is_frozen(&id).unwrap());
    found.thaw().unwrap();
}

#[test]
fn what_a_killed_keeper_left_is_swept_and_the_living_stay() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (living, left) = (id::random().unwrap(), id::random().unwrap());
    let limits = Limits { pids: Some(100), ..Limits::default() };
    let made = Groups::create(&living, &limits).unwrap();
    let mut lives = sleeper(&living);
    // A keeper in a process of its own, that ends without undoing anything.
    let id = left.clone();
    let create = move || Groups::create(&id, &Limits::default()).map(forget).map_err(std::io::Error::other);
    let mut keeper = Command::new("true");
    // SAFETY: as above.
    unsafe { keeper.pre_exec(create) };
    keeper.status().unwrap();
    let mut frozen = sleeper(&left);
    let found = Groups::open(&left).unwrap();
    found.freeze().unwrap();

    let mut ended = false;
    until(|| {
        groups::clear(&left).unwrap();
        ended = ended || frozen.try_wait().unwrap().is_some();
        ended && Groups::open(&left).unwrap().processes().unwrap().is_empty()
    });
    assert!(lives.try_wait().unwrap().is_none(), "it was kept");
    assert_eq!(
        Groups::open(&living).unwrap().read("pids", "pids.max", "pids.max").unwrap().unwrap(),
        "100\n"
    );
    lives.kill().unwrap();
    lives.wait().unwrap();
    made.remove().unwrap();
}
