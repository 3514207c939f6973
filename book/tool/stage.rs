//! The machine that a page's commands run on: the reader's, as far as one can tell from inside.
//!
//! A page gets namespaces of its own for mounts, processes, cgroups, network, hostname and System V IPC; a user
//! `you` with a `sudo`; and a copy of the repository in the home directory, already built. `/` is shared there, as
//! systemd leaves it. The real host's other processes, cgroups and mounts are out of reach: `pkill sleep` in a
//! page kills this page's. When the stage's process 1 is killed, the kernel ends everything else.
//!
//! In the machine that `.ci/vm/boot` starts, the tree of cgroups is the machine's own ([`emulated`]).

use std::collections::BTreeSet;
use std::env;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{self, SigHandler, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::{ForkResult, Pid, Uid, fork, getppid, sethostname, setsid};

use crate::repo;
use crate::terminal::{Seen, Terminal};

/// The name under which a test's program is started to be a stage; `ps` shows it for process 1.
pub const INIT: &str = "/sbin/init";
/// The variable that tells it where its [`Store`] is.
const STORE: &str = "BOOK_STORE";
/// The variable that tells it what was built before, if what is built now is to go with the stage.
const BUILT: &str = "BOOK_BUILT";
/// The user's home directory.
const HOME: &str = "/home/you";
/// Where a page's commands start.
const CHECKOUT: &str = "/home/you/containers-by-hand";
/// Numbers of processes begin here, so that they have four digits.
const FIRST_PID: i32 = 1000;

/// Whether this runs in the machine that `.ci/vm/boot` starts. Blocks for cgroup v2 begin at the root of its tree,
/// where version 2 allows what it allows nowhere else, and no cgroup namespace has that root. The emulated machine
/// is there for nothing else, so a page gets it as it is: no cgroups and no network of the stage's own, and no cargo.
pub fn emulated() -> bool {
    env::var("BOOK_BLOCKS").is_ok_and(|blocks| blocks == "v2")
}

/// A time after which one stops waiting, on a machine as slow as this.
pub fn patience(time: Duration) -> Duration {
    if emulated() { time * 5 } else { time }
}

/// What stays on the disk between runs: the home directory with its checkout. Stages that stand at the same time have
/// one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store(usize);

impl Store {
    /// Where cargo builds the chapters, for all of them.
    pub const FIRST: Store = Store(0);

    /// So many of them.
    pub fn some(number: usize) -> impl Iterator<Item = Store> {
        (0..number).map(Store)
    }

    /// Its directory.
    pub fn path(self) -> PathBuf {
        let target = repo::root().join("target");
        if self == Store::FIRST { target.join("book") } else { target.join(format!("book-{}", self.0)) }
    }

    fn home(self) -> PathBuf {
        self.path().join("home/you")
    }

    /// The copy of the repository.
    pub fn checkout(self) -> PathBuf {
        self.home().join("containers-by-hand")
    }

    /// What cargo has built there.
    fn built(self) -> PathBuf {
        self.checkout().join("target/debug")
    }
}

/// A running stage.
pub struct Stage {
    store: Store,
    helper: Child,
    control: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The stage's process 1, by its number on the host.
    init: Pid,
    name: String,
    terminals: BTreeSet<i32>,
    mounts: String,
    cgroups: BTreeSet<PathBuf>,
}

impl Stage {
    /// Brings the checkout up to date with the repository, and raises the stage. What was built in the first store is
    /// there, and what is built now goes with the stage.
    pub fn raise(store: Store) -> Result<Stage> {
        Stage::with(store, Some(Store::FIRST.built()).filter(|_| !emulated()))
    }

    /// The same, where what is built stays.
    pub fn to_build() -> Result<Stage> {
        let built = Store::FIRST.built();
        if !built.exists() {
            let target = built.parent().context("no directory")?;
            lab::as_owner(&repo::root(), || Ok(fs::create_dir_all(target)?))
                .with_context(|| format!("making {}", target.display()))?;
            repo::seed(target)?;
            repo::give(target, user()?)?;
        }
        Stage::with(Store::FIRST, None)
    }

    fn with(store: Store, built: Option<PathBuf>) -> Result<Stage> {
        ensure!(Uid::effective().is_root(), "a stage takes root");
        prepare(store)?;
        // Its child dies with it, and it dies with this thread.
        let mut helper = Command::new("/proc/self/exe");
        helper.arg0(INIT).env(STORE, store.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        helper.envs(built.map(|built| (BUILT, built)));
        // SAFETY: one system call.
        unsafe { helper.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut helper = helper.spawn().context("starting the stage")?;
        let control = helper.stdin.take().context("no pipe")?;
        let answers = BufReader::new(helper.stdout.take().context("no pipe")?);
        let name = if emulated() { String::new() } else { cgroup_name(helper.id()) };
        let init = Pid::from_raw(0);
        let (mounts, cgroups, terminals) = (String::new(), BTreeSet::new(), BTreeSet::new());
        let mut stage = Stage { store, helper, control, answers, init, name, terminals, mounts, cgroups };
        stage.init = Pid::from_raw(stage.answer()?.parse().context("the number of the stage's process 1")?);
        ensure!(stage.answer()? == "ready", "the stage is not ready");
        stage.mounts = stage.mounts_now()?;
        stage.cgroups = stage.cgroups_now();
        Ok(stage)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("reading from the stage")?;
        ensure!(!line.is_empty(), "the stage ended");
        let line = line.trim_end();
        match line.strip_prefix("error: ") {
            Some(error) => Err(anyhow!("raising the stage: {error}")),
            None => Ok(line.to_string()),
        }
    }

    /// Opens a terminal with the user's shell in it.
    pub fn terminal(&mut self) -> Result<Terminal> {
        let (mut terminal, number) = Terminal::open(&self.inside("/dev/pts/ptmx"))?;
        writeln!(self.control, "{number}").context("asking the stage for a shell")?;
        let shell = self.answer()?.parse().context("the number of a shell")?;
        self.terminals.insert(shell);
        // Another shell that is started in this one has a prompt of its own. The checkout is a repository, because
        // pages apply patches to it.
        let mut steps = vec!["", "export -n PS1 PS2; unset HISTFILE\n"];
        if self.terminals.len() == 1 && !emulated() {
            steps.push("git init -q . && git add -A && git commit -qm 'As published'\n");
        }
        for keys in steps {
            terminal.take();
            terminal.press(keys)?;
            let seen = terminal.wait(patience(Duration::from_secs(10)), |_| false)?;
            let ready = matches!(seen, Seen::Prompt(_)) && terminal.text().lines().count() <= 2;
            ensure!(ready, "the shell does not start well: {:?}", terminal.text());
        }
        terminal.take();
        Ok(terminal)
    }

    /// A path of the stage's, as the host can open it.
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    fn mounts_now(&self) -> Result<String> {
        repo::read(&PathBuf::from(format!("/proc/{}/mountinfo", self.init)))
    }

    fn cgroups_now(&self) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        for (point, _) in cgroup_mounts().unwrap_or_default() {
            walk(&point.join(&self.name), &mut all);
        }
        all
    }

    /// Processes other than the shells in the terminals, as `NUMBER COMMAND`, the numbers as the stage has them.
    fn processes(&self) -> Vec<String> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(&self.init.to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            // Those in a container's own namespace have our number too, before theirs.
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let field =
                |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
            let mut numbers =
                field("NSpid:").split_whitespace().skip(1).filter_map(|n| n.parse::<i32>().ok());
            let Some(number) = numbers.next() else { continue };
            let nested = numbers.next().is_some();
            if number == 1 || self.terminals.contains(&number) || field("State:").starts_with(['Z', 'X']) {
                continue;
            }
            let child = nested && self.is_below_init(&pid);
            if child || (!nested && namespace(&pid) == ours && ours.is_some()) {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                found.push(format!("{number} {}", command.trim()));
            }
        }
        found
    }

    fn is_below_init(&self, pid: &str) -> bool {
        let init = self.init.to_string();
        let mut pid = pid.to_string();
        loop {
            if pid == init {
                return true;
            }
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            match status.lines().find_map(|line| line.strip_prefix("PPid:")) {
                Some(parent) if parent.trim() != "0" => pid = parent.trim().to_string(),
                _ => return false,
            }
        }
    }

    /// Whether something compiles, or is busy in another way: then no output does not mean that none will come.
    pub fn is_busy(&self) -> (bool, bool) {
        let (mut builds, mut runs) = (false, false);
        for entry in fs::read_dir(self.inside("/proc")).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else {
                continue;
            };
            builds |= ["cargo", "rustc", "cc", "ld"].contains(&name);
            runs |= rest.trim_start().starts_with(['R', 'D']);
        }
        (builds, runs)
    }

    /// What a page left behind, in words; empty if nothing.
    pub fn left(&self) -> Result<Vec<String>> {
        let end = Instant::now() + patience(Duration::from_secs(3));
        loop {
            let left = self.left_now()?;
            if left.is_empty() || Instant::now() > end {
                return Ok(left);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn left_now(&self) -> Result<Vec<String>> {
        let mut left: Vec<_> = self.processes().iter().map(|one| format!("process {one}")).collect();
        let now = self.mounts_now()?;
        let new = now.lines().filter(|line| !self.mounts.lines().any(|old| old == *line));
        left.extend(new.map(|line| format!("mount {line}")));
        let gone = self.mounts.lines().filter(|line| !now.lines().any(|new| new == *line));
        left.extend(gone.map(|line| format!("a mount is gone: {line}")));
        let now = self.cgroups_now();
        left.extend(now.difference(&self.cgroups).map(|path| format!("cgroup {}", path.display())));
        let containers = self.inside("/var/lib/byhand/containers");
        let containers = fs::read_dir(containers).into_iter().flatten().flatten();
        left.extend(containers.map(|entry| format!("/var/lib/byhand/containers/{:?}", entry.file_name())));
        Ok(left)
    }

    fn end(&mut self) {
        // The kernel then kills whatever else is in there.
        if self.init.as_raw() > 1 {
            let _ = kill(self.init, Signal::SIGKILL);
        }
        let _ = self.helper.wait();
        let mut made = self.cgroups_now();
        if emulated() {
            made.retain(|cgroup| !self.cgroups.contains(cgroup)); // the others were there before us
        }
        for cgroup in made.iter().rev() {
            // The kernel may need a moment to see that the last process is gone.
            for _ in 0..200 {
                match fs::remove_dir(cgroup) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
        // What is root's in there would be in the way of their `cargo clean`.
        if let Err(error) = clear(self.store) {
            eprintln!("clearing the stage: {error:#}");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

fn walk(cgroup: &Path, all: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(cgroup) else { return };
    all.insert(cgroup.to_path_buf());
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), all);
    }
}

// Before: on the host.

/// Who `you` is by number: the owner of the repository, so that what is built here stays theirs.
fn user() -> Result<u32> {
    let owner = repo::owner()?;
    Ok(if owner == 0 { 1000 } else { owner })
}

/// Removes what a page made in the home directory, root's too; what cargo built stays.
fn clear(store: Store) -> Result<()> {
    let (home, checkout) = (store.home(), store.checkout());
    for (directory, kept) in [(&home, &[".cargo", "containers-by-hand"][..]), (&checkout, &["target"][..])] {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if kept.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Makes the home directory anew but for what cargo built in it.
fn prepare(store: Store) -> Result<()> {
    let you = user()?;
    let (home, checkout) = (store.home(), store.checkout());
    for directory in [".cargo/registry", ".cargo/toolchain", "containers-by-hand/target"] {
        lab::as_owner(&repo::root(), || Ok(fs::create_dir_all(home.join(directory))?))
            .context("making the stage's home directory")?;
    }
    clear(store)?;
    if store != Store::FIRST && !emulated() {
        lab::as_owner(&repo::root(), || Ok(fs::create_dir_all(store.built())?))
            .context("making a place for what is built")?;
    }
    let files = if emulated() {
        prepare_emulated(&checkout)?;
        Vec::new()
    } else {
        repo::files()?
    };
    for file in files {
        let (from, to) = (repo::root().join(&file), checkout.join(&file));
        let mut parent = to.parent();
        fs::create_dir_all(parent.unwrap_or(&checkout))?;
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        // As old as the original, so that cargo finds all fresh.
        let times = fs::FileTimes::new().set_modified(fs::metadata(&from)?.modified()?);
        File::options().write(true).open(&to)?.set_times(times)?;
        chown(&to, Some(you), Some(you))?;
        while let Some(directory) = parent.filter(|directory| *directory != home) {
            chown(directory, Some(you), Some(you))?;
            parent = directory.parent();
        }
    }
    fs::write(
        home.join(".gitconfig"),
        "[user]\n\tname = You\n\temail = you@example.org\n[init]\n\tdefaultBranch = main\n",
    )?;
    for path in [&home, &home.join(".cargo"), &checkout.join("target"), &home.join(".gitconfig")] {
        chown(path, Some(you), Some(you))?;
    }
    for path in [&store.path(), &store.path().join("home")] {
        chown(path, Some(you), Some(you))?; // or else their `cargo clean` fails
    }
    let etc = store.path().join("etc");
    fs::create_dir_all(&etc)?;
    let others = |file: &str, field: usize| -> Result<String> {
        let other = |line: &&str| {
            let mut fields = line.split(':');
            fields.clone().next() != Some("you") && fields.nth(field) != Some(you.to_string().as_str())
        };
        let text = repo::read(Path::new(file))?;
        Ok(text.lines().filter(other).map(|line| format!("{line}\n")).collect())
    };
    fs::write(
        etc.join("passwd"),
        format!("{}you:x:{you}:{you}:You:{HOME}:/bin/bash\n", others("/etc/passwd", 2)?),
    )?;
    fs::write(etc.join("group"), format!("{}you:x:{you}:\n", others("/etc/group", 2)?))?;
    repo::give(&etc, you)
}

/// The programs are where the pages name them, and no controller is on.
fn prepare_emulated(checkout: &Path) -> Result<()> {
    let tests = env::current_exe().context("looking for this program")?;
    let programs = tests.parent().and_then(Path::parent).context("no directory")?;
    let debug = checkout.join("target/debug");
    if !debug.exists() {
        fs::create_dir_all(&debug).with_context(|| format!("making {}", debug.display()))?;
        // By hard links: a symbolic one would lead nowhere where the checkout is in /tmp, which the stage covers.
        for program in fs::read_dir(programs)?.flatten().filter(|one| one.path().extension().is_none()) {
            if program.file_name().to_string_lossy().starts_with("ch") {
                fs::hard_link(program.path(), debug.join(program.file_name()))
                    .with_context(|| format!("linking {}", program.path().display()))?;
            }
        }
        fs::create_dir(debug.join("examples"))?;
        for program in fs::read_dir(programs.join("examples")).into_iter().flatten().flatten() {
            if program.path().extension().is_none() {
                fs::hard_link(program.path(), debug.join("examples").join(program.file_name()))
                    .with_context(|| format!("linking {}", program.path().display()))?;
            }
        }
    }
    let control = Path::new("/sys/fs/cgroup/cgroup.subtree_control");
    for controller in repo::read(control)?.split_whitespace() {
        fs::write(control, format!("-{controller}")).with_context(|| format!("turning off {controller}"))?;
    }
    Ok(())
}

// Inside.

fn cgroup_name(helper: u32) -> String {
    format!("book-{helper}")
}

/// Where cgroup hierarchies are mounted, and the type and options to mount them with again.
fn cgroup_mounts() -> Result<Vec<(PathBuf, Option<String>)>> {
    let table = repo::read(Path::new("/proc/thread-self/mountinfo"))?;
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), mut right) = (left.split(' ').nth(4), right.split(' ')) else { continue };
        match (right.next(), right.nth(1)) {
            (Some("cgroup2"), _) => found.push((PathBuf::from(point), None)),
            (Some("cgroup"), Some(options)) => {
                let named: Vec<_> = options
                    .split(',')
                    .filter(|one| !["rw", "ro", "release_agent"].iter().any(|no| one.starts_with(no)))
                    .collect();
                found.push((PathBuf::from(point), Some(named.join(","))));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The hierarchies in which the stage has a cgroup of its own that it shows as the root.
fn own_hierarchies() -> Result<Vec<(PathBuf, Option<String>)>> {
    if emulated() { Ok(Vec::new()) } else { cgroup_mounts() }
}

/// The helper: makes the cgroups and namespaces, and starts the stage's process 1.
pub fn main() -> ExitCode {
    let result = (|| -> Result<()> {
        let store = PathBuf::from(env::var_os(STORE).context("no directory")?);
        let name = cgroup_name(std::process::id());
        for (point, v1) in own_hierarchies()? {
            let cgroup = point.join(&name);
            join(&point, &cgroup, v1.as_deref()).with_context(|| format!("entering {}", cgroup.display()))?;
        }
        let mut all = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC;
        if !emulated() {
            all |= CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNET;
        }
        unshare(all).context("unshare")?;
        for (point, v1) in own_hierarchies()? {
            // No processes may be where v2 hands controllers on, so they sit in a cgroup further down, as
            // systemd has it for everyone who logs in.
            let session = point.join(&name).join("session");
            if v1.is_none() && !fs::read_to_string(point.join("cgroup.controllers"))?.trim().is_empty() {
                fs::create_dir(&session)?;
                fs::write(session.join("cgroup.procs"), "0").context("entering the session's cgroup")?;
            }
        }
        let (cable, end) = nix::unistd::pipe()?;
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                // From here on, what this process starts is in the namespace where `child` is number 1.
                println!("{child}");
                if !emulated() {
                    // The other end of the stage's network cable, in a network where nobody is.
                    unshare(CloneFlags::CLONE_NEWNET).context("unshare")?;
                    ip("link add cable type veth peer name eth0 netns 1")?;
                    ip("link set cable up")?;
                }
                drop((cable, end));
                waitpid(child, None)?;
                Ok(())
            }
            ForkResult::Child => {
                drop(end);
                init(&store, cable)
            }
        }
    })();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn join(point: &Path, cgroup: &Path, v1: Option<&str>) -> Result<()> {
    fs::create_dir(cgroup)?;
    match v1 {
        Some(options) if options.split(',').any(|one| one == "cpuset") => {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(cgroup.join(file), fs::read(point.join(file))?)?;
            }
        }
        Some(_) => {}
        None => {
            for controller in ["cpu", "cpuset", "memory", "pids"] {
                // A controller that this kernel does not have on v2 is missed by the commands that need it.
                let _ = fs::write(point.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    Ok(())
}

fn propagation(flags: MsFlags) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | flags, None::<&str>)
        .context("setting propagation")
}

fn tmpfs(target: &str, options: &str) -> Result<()> {
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), Some(options))
        .with_context(|| format!("mounting a tmpfs on {target}"))
}

fn handle(path: &Path) -> Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("opening {}", path.display()))
}

fn bind(source: &OwnedFd, target: &Path) -> Result<()> {
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("binding {}", target.display()))
}

/// The toolchain's directory: cargo is in its `bin`.
fn toolchain() -> Result<PathBuf> {
    let cargo = Path::new(env!("CARGO")).canonicalize().context("looking for cargo")?;
    let bin = cargo.parent().context("no directory")?;
    ensure!(bin.join("rustc").exists(), "no rustc beside {}", cargo.display());
    Ok(bin.parent().context("no directory")?.to_path_buf())
}

/// Where cargo keeps the crates it downloaded, for the user who called.
fn registry() -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = env::var_os("CARGO_HOME").map(PathBuf::from).into_iter().collect();
    for user in [env::var("SUDO_USER").ok(), Some("root".to_string())].into_iter().flatten() {
        places.extend(nix::unistd::User::from_name(&user)?.map(|user| user.dir.join(".cargo")));
    }
    places.extend(option_env!("CARGO_HOME").map(PathBuf::from));
    let found = places.iter().map(|place| place.join("registry")).find(|registry| registry.is_dir());
    found.with_context(|| format!("no crates downloaded in any of {places:?}"))
}

/// Has cargo find what was built before, while all that it builds lies in memory and goes with the stage: a page that
/// breaks the code leaves nothing behind that the next one would have to build again.
fn scratch(built: &OwnedFd, you: u32) -> Result<()> {
    tmpfs("/tmp", "mode=755")?; // until the overlay has what it needs of it
    for directory in ["/tmp/upper", "/tmp/work"] {
        fs::create_dir(directory)?;
        chown(directory, Some(you), Some(you))?;
    }
    let target = Path::new(CHECKOUT).join("target/debug");
    let layers =
        format!("lowerdir=/proc/self/fd/{},upperdir=/tmp/upper,workdir=/tmp/work", built.as_raw_fd());
    mount(Some("built"), &target, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        .context("mounting an overlay on the checkout's target")?;
    umount2("/tmp", MntFlags::MNT_DETACH).context("unmounting the tmpfs on /tmp")
}

/// The stage's process 1.
fn init(store: &Path, cable: OwnedFd) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    ensure!(getppid().as_raw() != 1 || std::process::id() == 1, "the helper is gone");
    propagation(MsFlags::MS_PRIVATE)?;

    let built = env::var_os(BUILT).map(|built| handle(Path::new(&built)));
    let (built, you) = (built.transpose()?, user()?);
    let home = handle(&store.join("home"))?;
    let cargo = if emulated() { None } else { Some((handle(&toolchain()?)?, handle(&registry()?)?)) };
    let etc = handle(&store.join("etc"))?;
    let program = fs::read("/proc/self/exe").context("reading this program")?;
    let made = fs::create_dir("/var/lib/byhand").is_ok();
    bind(&home, Path::new("/home"))?;
    if let Some(built) = built {
        scratch(&built, you)?;
    }
    if let Some((toolchain, registry)) = cargo {
        bind(&toolchain, &Path::new(HOME).join(".cargo/toolchain"))?;
        bind(&registry, &Path::new(HOME).join(".cargo/registry"))?;
    }
    // Our passwd and group over the host's other files. Not bound on the two of the host's: useradd(8) there would rename a
    // new file to their name, and that takes such a mount away.
    let layers = format!("lowerdir=/proc/self/fd/{}:/etc", etc.as_raw_fd());
    mount(Some("etc"), "/etc", Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        .context("mounting an overlay on /etc")?;
    tmpfs("/root", "mode=700")?;
    tmpfs("/tmp", "mode=1777")?;
    tmpfs("/var/lib/byhand", "mode=755")?;
    tmpfs("/usr/local/sbin", "mode=755")?;
    if made {
        // The mount hides it here; on the host an empty directory would stay.
        let _ = fs::remove_dir("/var/lib/byhand");
    }
    fs::write("/usr/local/sbin/sudo", program)?;
    fs::set_permissions("/usr/local/sbin/sudo", Permissions::from_mode(0o4755))?;

    let cgroups = own_hierarchies()?;
    for (point, _) in cgroups.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", point.display()))?;
    }
    for (point, v1) in &cgroups {
        let kind = if v1.is_some() { "cgroup" } else { "cgroup2" };
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(kind), point, Some(kind), flags, v1.as_deref())
            .with_context(|| format!("mounting {kind} on {} with {v1:?}", point.display()))?;
    }
    while umount2("/dev/pts", MntFlags::MNT_DETACH).is_ok() {}
    mount(Some("devpts"), "/dev/pts", Some("devpts"), MsFlags::empty(), Some("gid=5,mode=620,ptmxmode=666"))
        .context("mounting devpts")?;
    umount2("/proc", MntFlags::MNT_DETACH).context("unmounting proc")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).context("mounting proc")?;

    sethostname("laptop")?;
    if !emulated() {
        network(cable)?;
    }
    set_name(c"systemd")?;
    // SAFETY: the call takes numbers only. Tests are often run with a niceness, and ps would show it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    fs::write("/proc/sys/kernel/ns_last_pid", FIRST_PID.to_string()).context("numbering processes")?;
    propagation(MsFlags::MS_SHARED)?;

    println!("ready");
    // Orphans come to process 1, which must bury them. The shells are its children too.
    thread::spawn(|| {
        loop {
            match wait() {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    });
    for line in std::io::stdin().lines() {
        match shell(&line?) {
            Ok(child) => println!("{child}"),
            Err(error) => println!("error: {error:#}"),
        }
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().context("starting ip (package iproute2)")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A loopback and an interface as most machines have them; the cable leads nowhere.
fn network(cable: OwnedFd) -> Result<()> {
    // The helper closes its end once the interface is there.
    File::from(cable).read_to_end(&mut Vec::new())?;
    ip("link set lo up")?;
    ip("link set eth0 address 52:54:00:12:34:56 addrgenmode none")?;
    ip("link set eth0 up")?;
    ip("addr add 192.0.2.10/24 dev eth0")
}

nix::ioctl_write_int_bad!(
    /// Makes a terminal the caller's controlling one.
    take_terminal,
    libc::TIOCSCTTY
);

/// Starts the user's shell in the terminal of this number.
fn shell(number: &str) -> Result<u32> {
    let tty = || File::options().read(true).write(true).open(format!("/dev/pts/{number}"));
    let you = nix::unistd::User::from_name("you")?.context("no user")?;
    chown(format!("/dev/pts/{number}"), Some(you.uid.as_raw()), Some(5))?;
    let mut bash = Command::new("/bin/bash");
    bash.args(["--noprofile", "--norc", "--noediting", "-i"]).current_dir(CHECKOUT).env_clear();
    bash.stdin(tty()?).stdout(tty()?).stderr(tty()?);
    let path = format!("{HOME}/.cargo/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/bin:/bin");
    for (name, value) in [
        ("HOME", HOME),
        ("USER", "you"),
        ("LOGNAME", "you"),
        ("SHELL", "/bin/bash"),
        ("PATH", path.as_str()),
        ("TERM", "xterm"),
        ("LC_ALL", "C"),
        ("PS1", "$ "),
        ("PS2", "> "),
        ("CARGO_TERM_COLOR", "never"),
        ("CARGO_NET_OFFLINE", "true"),
        // What would be kept for the next build of a crate takes more room than the programs, in each store.
        ("CARGO_INCREMENTAL", "0"),
    ] {
        bash.env(name, value);
    }
    let name = CString::new("you")?;
    let prepare = move || {
        setsid()?;
        // A job in the background of a script ignores SIGINT, say, and a shell at a terminal must not inherit that.
        for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP))
        {
            // SAFETY: the default action is no code of ours.
            unsafe { signal::signal(signal, SigHandler::SigDfl) }?;
        }
        // What the tests were started with stays here.
        let (first, last, flags) = (3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // SAFETY: the call takes numbers only, and the descriptors stay open until exec.
        Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
        // SAFETY: descriptor 0 is the terminal, and the call reads no memory of ours.
        unsafe { take_terminal(0, 0) }?;
        nix::unistd::initgroups(&name, you.gid)?;
        nix::unistd::setgid(you.gid)?;
        nix::unistd::setuid(you.uid)?;
        Ok(())
    };
    // SAFETY: system calls; initgroups reads /etc/group, and no other thread of this process allocates meanwhile.
    unsafe { bash.pre_exec(prepare) };
    let child = bash.spawn().context("starting bash")?;
    match i32::try_from(child.id()) {
        Ok(id) if id > 1 => Ok(child.id()),
        _ => bail!("no number ({})", Errno::last()),
    }
}
