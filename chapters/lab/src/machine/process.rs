//! Processes as `/proc` shows them to the host, and the mark by which a check knows those it caused.
//!
//! A container's processes have another PID namespace, environment and session, and when `run` is
//! killed another parent too. What the kernel hands down to every descendant, and no runtime has a
//! reason to change, is a resource limit. RLIMIT_LOCKS has had no effect since Linux 2.4.25, so each
//! check takes a number of its own as that limit and later looks for it in `/proc/PID/limits`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::unistd::{Pid, geteuid, gethostname, setsid};

use crate::machine::mounts::{self, Mount};
use crate::see::{SOON, wait_for};

/// The limit that marks the processes of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn new() -> Mark {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Mark((u64::from(std::process::id()) << 20) + NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A small number that no other check of this program has.
    pub(crate) fn serial(self) -> u64 {
        self.0 & 0xf_ffff
    }

    /// Begins a child of the lab's, between fork and exec: it takes the mark, dies with the lab, and has its signals as a
    /// shell at a terminal gives them, whoever started the lab. (What a shell has in the background ignores Ctrl-C, and
    /// hands that on.)
    pub(crate) fn begin(self) -> std::io::Result<()> {
        setrlimit(Resource::RLIMIT_LOCKS, self.0, self.0)?;
        set_pdeathsig(Signal::SIGKILL)?;
        for signal in Signal::iterator() {
            // SAFETY: SIG_DFL is no function of ours. Two signals cannot be set, and need not be.
            unsafe { libc::signal(signal as i32, libc::SIG_DFL) };
        }
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
    }

    /// All live processes that have it.
    pub(crate) fn processes(self) -> Vec<Process> {
        let number = self.0.to_string();
        let marked = |process: &Process| {
            fs::read_to_string(process.file("limits")).is_ok_and(|limits| {
                let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"));
                line.and_then(|line| line.split_whitespace().next()) == Some(&number)
            })
        };
        all().into_iter().filter(|process| marked(process) && process.lives()).collect()
    }

    /// Waits until none is left, and returns those that stayed.
    pub(crate) fn gone(self, limit: Duration) -> Vec<Process> {
        let empty = || Ok(self.processes().is_empty().then_some(()));
        let _ = wait_for(limit, empty);
        self.processes()
    }

    /// Kills all of them.
    pub(crate) fn end(self) {
        let _ = wait_for(Duration::from_secs(10), || {
            let left = self.processes();
            left.iter().for_each(|process| process.signal(Signal::SIGKILL));
            Ok(left.is_empty().then_some(()))
        });
    }
}

/// An error unless root called, as whoever makes containers must be.
pub(crate) fn require_root() -> Result<()> {
    ensure!(geteuid().is_root(), "this makes containers, and only root can: run it as root or with sudo");
    Ok(())
}

nix::ioctl_write_int_bad!(take_terminal, libc::TIOCSCTTY);

/// Begins a session, and makes the terminal on stdin its own. For a child, between fork and exec.
pub(crate) fn begin_session() -> std::io::Result<()> {
    setsid()?;
    // SAFETY: descriptor 0 is a pty's slave side, and the call reads no memory of ours.
    unsafe { take_terminal(0, 0) }?;
    Ok(())
}

/// All processes of the host.
fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pid = |name: std::ffi::OsString| name.to_str()?.parse().ok().map(Process);
    entries.flatten().filter_map(|entry| pid(entry.file_name())).collect()
}

/// A process, by its number on the host. It may end at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) i32);

impl Process {
    /// The thread that calls this, as a process.
    pub(crate) fn this() -> Process {
        Process(nix::unistd::gettid().as_raw())
    }

    pub(crate) fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// A field of `/proc/PID/status`.
    pub(crate) fn status(self, field: &str) -> Option<String> {
        let status = fs::read_to_string(self.file("status")).ok()?;
        let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_string());
        status.lines().find_map(value)
    }

    /// Whether it runs: a zombie only waits for its parent to look.
    pub(crate) fn lives(self) -> bool {
        self.status("State").is_some_and(|state| !state.starts_with(['Z', 'X']))
    }

    pub(crate) fn parent(self) -> Option<Process> {
        self.status("PPid")?.parse().ok().map(Process)
    }

    pub(crate) fn descends_from(self, ancestor: Process) -> bool {
        self.parent().is_some_and(|parent| parent == ancestor || parent.descends_from(ancestor))
    }

    /// Its children and theirs, each before its own. Quicker than a look at all processes of the host.
    pub(crate) fn descendants(self) -> Vec<Process> {
        let mut found = Vec::new();
        for task in fs::read_dir(self.file("task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|number| number.parse().ok().map(Process)) {
                found.push(child);
                found.extend(child.descendants());
            }
        }
        found
    }

    /// Stops it where it is, and waits until it stands still or has ended.
    pub(crate) fn halt(self) -> Result<()> {
        self.signal(Signal::SIGSTOP);
        let still = || self.status("State").is_none_or(|state| state.starts_with(['T', 'Z', 'X']));
        let halted = wait_for(SOON, || Ok(still().then_some(())))?;
        halted.with_context(|| format!("process {} does not stop", self.0))
    }

    /// Whether this signal has been sent to it and waits.
    pub(crate) fn awaits(self, signal: Signal) -> bool {
        let bits = self.status("ShdPnd").and_then(|bits| u64::from_str_radix(&bits, 16).ok());
        bits.is_some_and(|bits| bits >> (signal as u32 - 1) & 1 == 1)
    }

    /// Whether a tracer holds it in a call of this number.
    pub(crate) fn is_held_in(self, call: i64) -> bool {
        let calls = fs::read_to_string(self.file("syscall")).unwrap_or_default();
        let held = self.status("State").is_some_and(|state| state.starts_with('t'));
        held && calls.split_whitespace().next() == Some(&call.to_string())
    }

    /// Its numbers, the host's first, then one for each PID namespace further in.
    pub(crate) fn numbers(self) -> Vec<i32> {
        let list = self.status("NSpid").unwrap_or_default();
        list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }

    /// `pid:[4026531836]`, for example.
    pub(crate) fn namespace(self, kind: &str) -> Result<PathBuf> {
        let link = self.file("ns").join(kind);
        fs::read_link(&link).with_context(|| format!("reading {}", link.display()))
    }

    /// What it was executed with: its name first.
    pub(crate) fn arguments(self) -> Vec<OsString> {
        let bytes = fs::read(self.file("cmdline")).unwrap_or_default();
        let Some(bytes) = bytes.strip_suffix(b"\0") else { return Vec::new() };
        bytes.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect()
    }

    /// Whether it executes this command. A shell with a script may have gone on to the script's last command, for
    /// which it starts no other process.
    pub(crate) fn runs(self, command: &[OsString]) -> bool {
        is_command(&self.arguments(), command)
    }

    /// The hostname that it sees.
    pub(crate) fn hostname(self) -> Result<String> {
        let namespace = File::open(self.file("ns/uts")).context("opening the container's UTS namespace")?;
        let look = move || -> Result<String> {
            setns(namespace, CloneFlags::CLONE_NEWUTS).context("entering the container's UTS namespace")?;
            Ok(gethostname()?.to_string_lossy().into_owned())
        };
        // In a thread of its own, for whoever enters a namespace stays there.
        std::thread::spawn(look).join().map_err(|_| anyhow!("a thread panicked"))?
    }

    /// Its command line, for messages.
    pub(crate) fn command(self) -> String {
        let bytes = fs::read(self.file("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_string()
    }

    /// The mounts that it sees.
    pub(crate) fn mounts(self) -> Result<Vec<Mount>> {
        mounts::table_in(&self.file("mountinfo"))
    }

    pub(crate) fn environment(self) -> Result<BTreeMap<String, String>> {
        let bytes = fs::read(self.file("environ")).context("reading the environment")?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.into(), value.into()));
        Ok(text.split('\0').filter_map(pair).collect())
    }

    /// Its open descriptors and what each leads to.
    pub(crate) fn descriptors(self) -> Result<BTreeMap<i32, String>> {
        let mut open = BTreeMap::new();
        for entry in fs::read_dir(self.file("fd")).context("listing descriptors")? {
            let entry = entry?;
            let target = fs::read_link(entry.path()).unwrap_or_default();
            open.insert(entry.file_name().to_string_lossy().parse()?, target.display().to_string());
        }
        Ok(open)
    }

    /// A path of its own root, as the host can open it.
    pub(crate) fn path(self, inside: &str) -> PathBuf {
        self.file("root").join(inside.trim_start_matches('/'))
    }

    /// The live processes of its PID namespace.
    pub(crate) fn companions(self) -> Result<BTreeSet<i32>> {
        let namespace = self.namespace("pid")?;
        let with_it = |other: &Process| other.namespace("pid").is_ok_and(|theirs| theirs == namespace);
        Ok(all().into_iter().filter(with_it).filter(|process| process.lives()).map(|p| p.0).collect())
    }

    /// Sends a signal to the process group that it leads.
    pub(crate) fn signal_group(self, signal: Signal) {
        let _ = killpg(Pid::from_raw(self.0), signal); // as below
    }

    pub(crate) fn signal(self, signal: Signal) {
        // It may just have ended, which is what one often wants.
        let _ = kill(Pid::from_raw(self.0), signal);
    }
}

/// Whether someone who was asked for `command` has executed `words`. A path to the name is as good as the name.
pub(crate) fn is_command(words: &[OsString], command: &[OsString]) -> bool {
    let same = |one: &OsString, other: &OsString| {
        one == other
            || Path::new(one).file_name().is_some_and(|name| Some(name) == Path::new(other).file_name())
    };
    if let ([name, arguments @ ..], [asked, theirs @ ..]) = (words, command)
        && same(name, asked)
        && arguments == theirs
    {
        return true;
    }
    let [shell, option, script, ..] = command else { return false };
    let plain = |text: &str| text.replace(['\'', '"'], "");
    let words: Vec<_> = words.iter().map(|word| plain(&word.to_string_lossy())).collect();
    shell == "sh" && option == "-c" && !words.is_empty() && {
        let script = plain(&script.to_string_lossy());
        script
            .trim_end()
            .strip_suffix(&words.join(" "))
            .is_some_and(|before| before.ends_with([' ', ';', '\n']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_was_asked_for() {
        let words = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
        let is = |seen: &[&str], asked: &[&str]| is_command(&words(seen), &words(asked));
        assert!(is(&["sleep", "1000"], &["sleep", "1000"]));
        assert!(is(&["/bin/sleep", "1000"], &["sleep", "1000"]));
        assert!(is(&["sh", "-c", "a b; exec c d"], &["sh", "-c", "a b; exec c d"]));
        assert!(is(&["c", "d"], &["sh", "-c", "a b; exec c 'd'"]));
        assert!(!is(&["runtime", "run", "sleep", "1000"], &["sleep", "1000"]));
        assert!(!is(&["runtime", "run", "sh", "-c", "exec c d"], &["sh", "-c", "exec c d"]));
        assert!(!is(&["runtime", "init"], &["sh", "-c", "exec c d"]));
        assert!(!is(&[], &["sh", "-c", "exit 0"]));
    }
}
