//! Our init beside tini and dumb-init: the same scenes, with each as process 1 of a PID namespace.
//!
//! Ours must do at least what tini does. Where they differ, a line tells how:
//!
//! ```sh
//! cargo test -p ch06_init --test beside -- --nocapture --test-threads 1
//! ```
//!
//! unshare(1), pid_namespaces(7), signal(7), proc_pid_smaps(5).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// What happens within this time happens. Only a failure takes so long.
const SOON: Duration = Duration::from_secs(20);

/// Who is process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Ours,
    Tini,
    Dumb,
    /// The command itself: what has to go wrong then shows that these scenes can fail.
    Nobody,
}

use Init::{Dumb, Nobody, Ours, Tini};

const ALL: [Init; 3] = [Ours, Tini, Dumb];

impl Init {
    /// Those of them that this machine has.
    fn here() -> Vec<Init> {
        let is_here = |program: &str| {
            let found = std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
            });
            if !found {
                println!("skipped: {program} is not installed: apt-get install {program}");
            }
            found
        };
        let them = ALL.into_iter().filter(|init| match init {
            Tini => is_here("tini"),
            Dumb => is_here("dumb-init"),
            Ours | Nobody => true,
        });
        them.collect()
    }

    /// Prepares `command` to be run below this process 1.
    fn before(self, command: &[&str], state: &Path) -> Command {
        let mut run = match self {
            Ours | Nobody => {
                let mut run = Command::new(env!("CARGO_BIN_EXE_ch06_init"));
                run.args(["run", "-i"]).args((self == Ours).then_some("--init"));
                run
            }
            Tini | Dumb => {
                let mut run = Command::new("unshare");
                run.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
                run.args(if self == Tini { ["tini", "--"] } else { ["dumb-init", "--"] });
                run
            }
        };
        run.args(command).env("BYHAND_ROOT", state).env_remove("RUST_LOG");
        // SAFETY: between fork and exec this makes system calls and takes no lock.
        unsafe { run.pre_exec(default_signals) };
        run
    }
}

/// As a shell at a terminal starts a command, whatever whoever started the tests ignores: nohup(1) ignores SIGHUP.
fn default_signals() -> io::Result<()> {
    for signal in Signal::iterator() {
        // SAFETY: SIG_DFL is no function of ours. Two signals cannot be set, and need not be.
        unsafe { libc::signal(signal as i32, libc::SIG_DFL) };
    }
    Ok(())
}

/// A command that runs. Dropped, everything is killed: unshare takes its child with it, and so does ours.
struct Scene {
    init: Init,
    run: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    _state: TempDir,
}

impl Scene {
    fn sh(init: Init, script: &str) -> Scene {
        Scene::of(init, &["busybox", "sh", "-c", script])
    }

    fn of(init: Init, command: &[&str]) -> Scene {
        let state = tempfile::tempdir().unwrap();
        let mut run = init.before(command, state.path());
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut run = run.spawn().unwrap();
        let (stdin, stdout) = (run.stdin.take(), run.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Scene { init, run, stdin, lines, _state: state }
    }

    /// Whether this line comes soon; other lines may come before.
    fn says_within(&self, expected: &str, time: Duration) -> bool {
        let end = Instant::now() + time;
        let next = || self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok();
        std::iter::from_fn(next).any(|line| line == expected)
    }

    fn says(&self, expected: &str) {
        assert!(self.says_within(expected, SOON), "{:?}: no line {expected:?}", self.init);
    }

    fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The exit status of all of it.
    fn status(&mut self) -> i32 {
        soon(|| self.run.try_wait().unwrap())
            .unwrap_or_else(|| panic!("{:?}: no end", self.init))
            .code()
            .unwrap()
    }

    /// Process 1 of the namespace: below what was started, with a number of its own in there, which is 1.
    fn process_1(&self) -> Process {
        let root = self.run.id().cast_signed();
        let find =
            || Process::all().into_iter().find(|one| one.numbers_inside() == [1] && one.is_below(root));
        soon(find).unwrap_or_else(|| panic!("{:?}: no process 1", self.init))
    }

    fn zombies(&self) -> usize {
        let init = self.process_1();
        Process::all().iter().filter(|one| one.parent() == Some(init.0) && one.state() == Some('Z')).count()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.run.kill();
        let _ = self.run.wait();
    }
}

/// A process, by its number here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process(i32);

impl Process {
    fn all() -> Vec<Process> {
        let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).map(Process).collect()
    }

    fn file(self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.0)).ok()
    }

    fn field(self, file: &str, name: &str) -> Option<String> {
        let text = self.file(file)?;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(|value| value.trim().to_string())
    }

    fn parent(self) -> Option<i32> {
        self.field("status", "PPid")?.parse().ok()
    }

    fn state(self) -> Option<char> {
        self.field("status", "State")?.chars().next()
    }

    /// Its numbers in the PID namespaces below ours.
    fn numbers_inside(self) -> Vec<i32> {
        let numbers = self.field("status", "NSpid").unwrap_or_default();
        numbers.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect()
    }

    fn is_below(self, ancestor: i32) -> bool {
        self.parent()
            .is_some_and(|parent| parent == ancestor || parent > 1 && Process(parent).is_below(ancestor))
    }

    /// By its number, for the real-time signals have no names.
    fn signal(self, number: i32) {
        // SAFETY: the call reads no memory of ours.
        assert_eq!(unsafe { libc::kill(self.0, number) }, 0, "{self:?}, signal {number}");
    }

    /// How long it has been on a processor, in microseconds.
    fn processor_time(self) -> u64 {
        let nanoseconds: u64 = self.file("schedstat").unwrap().split(' ').next().unwrap().parse().unwrap();
        nanoseconds / 1000
    }
}

fn soon<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    within(SOON, look)
}

fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        match look() {
            None if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            seen => return seen,
        }
    }
}

/// Plays a scene with each and tells what came of it. Returns that, ours first.
fn each<T: std::fmt::Debug>(what: &str, play: impl Fn(Init) -> T) -> Vec<(Init, T)> {
    let results: Vec<_> = Init::here().into_iter().map(|init| (init, play(init))).collect();
    let told: Vec<_> = results.iter().map(|(init, result)| format!("{init:?} {result:?}")).collect();
    println!("| {what} | {} |", told.join(" | "));
    results
}

/// Plays a scene of which all must make the same.
fn all_alike<T: std::fmt::Debug + PartialEq>(what: &str, expected: &T, play: impl Fn(Init) -> T) {
    for (init, result) in each(what, play) {
        assert_eq!(&result, expected, "{what}: {init:?}");
    }
}

#[test]
fn the_commands_status_is_theirs() {
    for status in [0, 1, 7, 126, 127, 255] {
        all_alike("exit", &status, |init| Scene::sh(init, &format!("exit {status}")).status());
    }
}

#[test]
fn a_signal_that_kills_is_told_as_128_and_its_number() {
    for signal in [1, 2, 6, 9, 10, 11, 15, 31, 34, 64] {
        let script = format!("kill -{signal} $$; exit 1");
        all_alike(&format!("killed by {signal}"), &(128 + signal), |init| Scene::sh(init, &script).status());
    }
}

#[test]
fn a_command_that_cannot_start_is_told_as_a_shell_tells_it() {
    for (name, status) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        for (init, told) in each(name, |init| Scene::of(init, &[name]).status()) {
            assert!(told == status || init == Dumb, "{name}: {init:?} told {told}");
        }
    }
}

/// Those that a process can catch, SIGCHLD apart, and two that have no name.
fn catchable() -> impl Iterator<Item = i32> {
    let kept_back = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD];
    (1..=31).chain([34, 64]).filter(move |number| !kept_back.contains(number))
}

/// The signals that process 1 is sent and the command gets.
fn passed_on(init: Init) -> Vec<i32> {
    let numbers: Vec<_> = catchable().map(|number| number.to_string()).collect();
    let script = format!(
        "for s in {}; do trap \"echo got $s\" $s; done; echo ready; while :; do read x; echo \"read $x\"; done",
        numbers.join(" ")
    );
    let mut scene = Scene::sh(init, &script);
    scene.says("ready");
    let process_1 = scene.process_1();
    let mut passed = Vec::new();
    for number in catchable() {
        process_1.signal(number);
        // Of the others nobody knows whether they will.
        let patience = if init == Init::Ours && number <= 31 { SOON } else { Duration::from_secs(1) };
        if scene.says_within(&format!("got {number}"), patience) {
            passed.push(number);
        } else {
            process_1.signal(libc::SIGCONT); // dumb-init makes SIGSTOP of some
        }
        // Whatever it was, init and command go on. A signal in the midst of a line makes read forget what it has.
        let goes_on = soon(|| {
            scene.types(&number.to_string());
            scene.says_within(&format!("read {number}"), Duration::from_secs(1)).then_some(())
        });
        assert!(goes_on.is_some(), "{init:?} or its command stands still after signal {number}");
    }
    passed
}

#[test]
fn every_signal_that_tini_passes_on_arrives_through_ours_too() {
    let results = each("passed on", passed_on);
    let named: Vec<_> = catchable().filter(|number| *number <= 31).collect();
    for (init, passed) in &results {
        if *init == Ours {
            assert!(named.iter().all(|number| passed.contains(number)), "ours: {passed:?} of {named:?}");
        }
        // A real-time signal means something to two programs that have agreed on it; ours has agreed on nothing.
        let missing: Vec<_> =
            passed.iter().filter(|one| **one <= 31 && !results[0].1.contains(one)).collect();
        assert!(missing.is_empty(), "{init:?} passes on {missing:?}, and ours does not");
    }
}

#[test]
fn a_thousand_orphans_leave_no_zombie() {
    // Each is made by a shell that ends before it.
    let script = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; echo made; exec sleep 1000";
    let left = |init| {
        let scene = Scene::sh(init, script);
        scene.says("made");
        soon(|| (scene.zombies() == 0).then_some(0)).unwrap_or_else(|| scene.zombies())
    };
    all_alike("zombies of 1000 orphans", &0, left);
}

#[test]
fn however_an_orphan_ends_the_container_goes_on() {
    let script = "for s in 9 11 34 64; do (sh -c \"kill -$s \\$\\$\" &); done; sleep 0.3; exit 4";
    all_alike("orphans killed by 9, 11, 34, 64", &4, |init| Scene::sh(init, script).status());
}

/// Without it, the scene of the thousand would prove nothing.
#[test]
fn without_an_init_orphans_become_zombies() {
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 1 &); i=$((i+1)); done; echo made; exec sleep 1000";
    let scene = Scene::sh(Nobody, script);
    scene.says("made");
    let zombies = soon(|| (scene.zombies() == 100).then_some(100));
    assert_eq!(zombies, Some(100), "{} zombies", scene.zombies());
}

/// 300 ends at once, a thousand SIGCHLD by hand, and in the midst of it a signal for the command.
#[test]
fn a_storm_of_sigchld_hides_no_signal_and_no_end() {
    let script = "trap 'echo got USR1' USR1; i=0; pids=;
        while [ $i -lt 300 ]; do pids=\"$pids $(sleep 1000 > /dev/null & echo $!)\"; i=$((i+1)); done;
        echo ready; read x; kill -9 $pids; echo killed; until read x; do :; done; exit 7";
    let after = |init| {
        let mut scene = Scene::sh(init, script);
        scene.says("ready");
        let process_1 = scene.process_1();
        scene.types("kill them");
        for _ in 0..1000 {
            process_1.signal(libc::SIGCHLD);
        }
        scene.says("killed");
        process_1.signal(libc::SIGUSR1);
        scene.says("got USR1");
        let zombies = soon(|| (scene.zombies() == 0).then_some(0)).unwrap_or_else(|| scene.zombies());
        // Then all is quiet: nobody asks in a circle.
        let before = process_1.processor_time();
        thread::sleep(Duration::from_millis(300));
        let busy = process_1.processor_time() - before > 100_000;
        scene.types("end");
        (zombies, busy, scene.status())
    };
    all_alike("storm: zombies, busy, status", &(0, false, 7), after);
}

#[test]
fn a_stopped_child_is_no_ended_one() {
    let stopped = |init| {
        let mut scene = Scene::sh(init, "echo ready; kill -STOP $$; echo on; exit 5");
        scene.says("ready");
        let process_1 = scene.process_1();
        let is_stopped = |one: &Process| one.parent() == Some(process_1.0) && one.state() == Some('T');
        let seen = soon(|| Process::all().into_iter().find(is_stopped)).is_some();
        process_1.signal(libc::SIGCONT);
        scene.says("on");
        (seen, scene.status())
    };
    all_alike("stopped, and its status", &(true, 5), stopped);
}

#[test]
fn what_went_into_a_session_of_its_own_is_reaped_and_ends_with_the_command() {
    let background = |init| {
        let script = "setsid sleep 1000 & setsid true & (setsid sleep 1000 &); echo ready; read x; exit 6";
        let mut scene = Scene::sh(init, script);
        scene.says("ready");
        let process_1 = scene.process_1();
        let inside: Vec<_> = Process::all().into_iter().filter(|one| one.is_below(process_1.0)).collect();
        scene.types("end");
        let status = scene.status();
        let left = || inside.iter().any(|one| one.is_below(process_1.0));
        (inside.len() >= 3, soon(|| (!left()).then_some(())).is_some(), status)
    };
    all_alike("several there, all gone, status", &(true, true, 6), background);
}

/// In a session of its own nobody but the command's own shell can be stopped by Ctrl-Z for good.
#[test]
fn the_commands_session() {
    let script =
        "set -- $(cat /proc/self/stat); [ $6 = $$ ] && echo session; [ $6 = $$ ] || echo group; read x";
    let session = |init| Scene::sh(init, script).says_within("session", SOON);
    for (init, own) in each("a session of its own", session) {
        assert!(own || init == Tini, "{init:?}");
    }
}

/// What it costs to have it: kilobytes of its own that nobody shares, and microseconds for a thousand orphans.
#[test]
fn what_it_costs() {
    let script =
        "read x; i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; echo made; exec sleep 1000";
    let cost = |init| {
        let mut scene = Scene::sh(init, script);
        let process_1 = scene.process_1();
        // Not before it waits: until then it's unshare, or ours on its way.
        soon(|| Process::all().into_iter().find(|one| one.parent() == Some(process_1.0))).unwrap();
        let before = process_1.processor_time();
        scene.types("begin");
        scene.says("made");
        soon(|| (scene.zombies() == 0).then_some(())).unwrap();
        let spent = process_1.processor_time() - before;
        let kilobytes = |name| -> u64 {
            let value = process_1.field("smaps_rollup", name).unwrap();
            value.trim_end_matches(" kB").parse().unwrap()
        };
        let page_tables = process_1.field("status", "VmPTE").unwrap();
        let [rss, pss, dirty] = ["Rss", "Pss", "Private_Dirty"].map(kilobytes);
        println!(
            "| {init:?} | Rss {rss} kB, Pss {pss} kB, private {dirty} kB, page tables {page_tables} | {spent} µs |"
        );
        dirty
    };
    for (init, dirty) in each("kB written, and so its own", cost) {
        assert!(dirty < 1024, "{init:?}: {dirty} kB");
    }
}
