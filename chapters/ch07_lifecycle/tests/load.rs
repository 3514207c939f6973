//! Many containers at once: as many keepers, and what they cost. `LAB_LOAD=500` in the environment says how many.
//!
//! Times are printed and not judged: a machine that has other things to do is no failure. To see them:
//! `cargo test -p ch07_lifecycle --test load -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope, sleep};
use std::time::{Duration, Instant};

use ch02_cgroups::mountinfo;

/// How many there are if nobody says.
const MANY: usize = 100;

/// How much memory of its own a keeper may have, in KiB.
const KEEPERS_SHARE: u64 = 2048;

#[test]
fn many_at_once() {
    let many = std::env::var("LAB_LOAD").map_or(MANY, |text| text.parse().expect("LAB_LOAD is a number"));
    let containers = Containers { state: tempfile::tempdir().unwrap(), ids: Mutex::default() };
    containers.call(["run", "--rm", "true"]); // the first makes the image

    let (started, ()) = timed(|| containers.start(many));
    let mut ids = containers.ids();
    ids.sort();
    println!("{many} started: {}", rate(many, started));

    let looks: Vec<_> = (0..5).map(|_| timed(|| containers.call(["ps", "-q", "--no-trunc"]))).collect();
    for (_, listed) in &looks {
        let mut listed: Vec<_> = listed.lines().map(str::to_string).collect();
        listed.sort();
        assert_eq!(listed, ids);
    }
    let quick = looks.iter().map(|(time, _)| *time).min().unwrap();
    let (table, text) = timed(|| containers.call(["ps"]));
    assert_eq!(text.lines().count(), many + 1);
    println!("ps -q: {:.1} ms; ps: {:.1} ms", ms(quick), ms(table));

    let keepers: Vec<_> = ids.iter().map(|id| containers.keeper(id)).collect();
    let shares: Vec<_> = keepers.iter().map(|pid| private_memory(pid)).collect();
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    println!("memory that a keeper has for itself: {least} to {most} KiB");
    assert!(*most < KEEPERS_SHARE, "a keeper has {most} KiB for itself");

    let after = |words: &[&'static str]| -> Vec<String> {
        words.iter().map(|word| word.to_string()).chain(ids.clone()).collect()
    };
    let (stopped, _) = timed(|| containers.call(after(&["stop", "-t", "0"])));
    println!("stopped by one command: {}", rate(many, stopped));
    assert_eq!(containers.call(["ps", "-q"]), "");
    // They give up the locks, which stop waits for, a moment before they end.
    let start = Instant::now();
    while let Some(pid) = keepers.iter().find(|pid| Path::new("/proc").join(pid).exists()) {
        assert!(start.elapsed() < Duration::from_secs(10), "the keeper {pid} lives");
        sleep(Duration::from_millis(5));
    }
    let (removed, _) = timed(|| containers.call(after(&["rm"])));
    println!("removed: {}", rate(many, removed));
    assert_eq!(containers.call(["ps", "-a", "-q"]), "");
    containers.nothing_is_left(&ids);
}

/// All that this test starts. Dropped, they are removed.
struct Containers {
    state: tempfile::TempDir,
    ids: Mutex<BTreeSet<String>>,
}

impl Containers {
    /// Runs the program, which has to succeed, and returns what it prints.
    fn call<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ch07_lifecycle"));
        let output = program.args(words).env("BYHAND_ROOT", self.state.path()).output().unwrap();
        assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts so many, from as many shells as there are processors.
    fn start(&self, many: usize) {
        let left = AtomicUsize::new(many);
        let one_less = |left: usize| left.checked_sub(1);
        scope(|scope| {
            for _ in 0..available_parallelism().unwrap().get() {
                scope.spawn(|| {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                        let id = self.call(["run", "-d", "sleep", "600"]);
                        assert!(self.ids.lock().unwrap().insert(id.trim_end().to_string()), "{id} twice");
                    }
                });
            }
        });
    }

    fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().iter().cloned().collect()
    }

    /// The number of the process that keeps it.
    fn keeper(&self, id: &str) -> String {
        let fact = self.state.path().join("records").join(id).join("keeper");
        fs::read_to_string(fact).unwrap().trim().to_string()
    }

    /// Fails if there is a record, a mount or a cgroup of theirs.
    fn nothing_is_left(&self, ids: &[String]) {
        for place in ["records", "records/.unfinished", "names"] {
            let entries = fs::read_dir(self.state.path().join(place)).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name()).filter(|name| name != ".unfinished");
            assert_eq!(names.collect::<Vec<_>>(), Vec::<OsString>::new(), "in {place}");
        }
        for mount in mountinfo::read().unwrap() {
            assert!(!mount.target.starts_with(self.state.path()), "a mount on {}", mount.target.display());
            if mount.filesystem.starts_with("cgroup") {
                let of_these = ids.iter().map(|id| mount.target.join("byhand").join(id));
                of_these.for_each(|group| assert!(!group.exists(), "{} is there", group.display()));
            }
        }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // Only after a failure is there anything to do, and that has been told.
        let ids = self.ids.get_mut().map(std::mem::take).unwrap_or_default();
        let mut program = Command::new(env!("CARGO_BIN_EXE_ch07_lifecycle"));
        let _ = program.args(["rm", "-f"]).args(ids).env("BYHAND_ROOT", self.state.path()).output();
    }
}

/// What this process alone has in memory, in KiB: proc_pid_smaps(5).
fn private_memory(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = work();
    (start.elapsed(), done)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn rate(many: usize, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{seconds:.1} s, {:.0} in a second", many as f64 / seconds)
}
