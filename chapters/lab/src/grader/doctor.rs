//! What this machine can run, chapter by chapter, found out by trying: namespaces(7), cgroups(7), mount(2), pts(4),
//! pidfd_open(2).

use std::env;
use std::fs;
use std::io::{IsTerminal, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc::{self, O_NOCTTY};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use crate::chapter::Chapter;
use crate::grader::forwarding::{self, Tried};
use crate::machine::tool::in_path;
use crate::machine::{hierarchy, host, mounts};
use crate::see::tell;

/// The oldest kernel that the chapters were tried on.
const OLDEST_KERNEL: (u32, u32) = (5, 4);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// As it should be.
    Green,
    /// Something will not work, or differently, and the chapters run without.
    Yellow,
    /// The chapters that need it do not run.
    Red,
}

/// One line of the report.
struct Finding {
    what: &'static str,
    health: Health,
    seen: String,
    /// What the reader can do about it.
    advice: String,
    /// The first chapter that needs it; those that build on it need it too.
    since: Chapter,
}

impl Finding {
    fn new(what: &'static str, since: Chapter, health: Health, seen: impl ToString) -> Finding {
        Finding { what, health, seen: seen.to_string(), advice: String::new(), since }
    }

    fn advise(mut self, advice: &str) -> Finding {
        self.advice = advice.to_string();
        self
    }

    /// Green if it worked, `health` if not, with what was seen in either case.
    fn tried(
        what: &'static str,
        since: Chapter,
        result: Result<String>,
        health: Health,
        advice: &str,
    ) -> Finding {
        match result {
            Ok(seen) => Finding::new(what, since, Health::Green, seen),
            Err(error) => Finding::new(what, since, health, format!("{error:#}")).advise(advice),
        }
    }
}

/// Looks at this machine and prints what it found. Succeeds if every chapter can run but the one on aufs, which
/// few kernels have.
pub(crate) fn examine() -> Result<ExitCode> {
    let root = geteuid().is_root();
    let mut findings = vec![user(), kernel()];
    if root {
        findings.extend(namespaces());
    } else {
        // All would fail, for the one reason that is told already.
        let what = "namespaces, overlayfs";
        findings.push(Finding::new(what, Chapter::Run, Health::Yellow, "not tried: that takes root"));
    }
    findings.push(propagation());
    findings.extend(controllers());
    findings.push(busybox());
    // Without the namespaces it is not a file system that is missing.
    let work = |kind: &str| {
        root && findings.iter().all(|one| !one.what.ends_with(kind) || one.health == Health::Green)
    };
    let (mounts, all) = (work("mount namespace"), work("namespace"));
    findings.extend(root.then(state_directory));
    findings.extend(mounts.then(overlay));
    findings.extend(all.then(surroundings).into_iter().flatten());
    findings.extend(all.then(network).into_iter().flatten());
    findings.extend(all.then(forwarding));
    findings.extend([process_descriptors(), careful_opening(), sealing(), freezer()]);
    findings.extend([aufs(), terminal(), strace()]);

    let colours = stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    for finding in &findings {
        tell(&format!("{} {:<22} {}\n", mark(finding.health, colours), finding.what, finding.seen))?;
        if !finding.advice.is_empty() {
            tell(&format!("{:30} -> {}\n", "", finding.advice))?;
        }
    }
    tell("\n")?;
    let mut all_run = true;
    for chapter in Chapter::ALL {
        let in_the_way: Vec<_> = findings
            .iter()
            .filter(|finding| finding.health == Health::Red && chapter.includes(finding.since))
            .map(|finding| finding.what)
            .collect();
        let runs = in_the_way.is_empty();
        all_run &= runs || chapter == Chapter::Aufs;
        let health = if runs { Health::Green } else { Health::Red };
        let reason = if runs { "runs here".to_string() } else { format!("no: {}", in_the_way.join(", ")) };
        tell(&format!("{} {:<22} {reason}\n", mark(health, colours), chapter.package()))?;
    }
    Ok(if all_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mark(health: Health, colours: bool) -> String {
    let (word, colour) = match health {
        Health::Green => ("[ ok ]", 32),
        Health::Yellow => ("[note]", 33),
        Health::Red => ("[ no ]", 31),
    };
    if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_string() }
}

fn user() -> Finding {
    let (what, since) = ("root", Chapter::Run);
    if geteuid().is_root() {
        Finding::new(what, since, Health::Green, "you are root, or became it by sudo")
    } else if env::var_os("LAB_NO_SUDO").is_none() && in_path("sudo").is_some() {
        Finding::new(what, since, Health::Yellow, "not root here, but there is sudo")
            .advise("nothing: `cargo run` and `cargo test` use it by themselves")
    } else {
        Finding::new(what, since, Health::Red, "neither root nor sudo that works here")
            .advise("become root (su -), or use the classroom VM: see vagrant/README.md")
    }
}

fn kernel() -> Finding {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (oldest, newer) = (OLDEST_KERNEL, version >= OLDEST_KERNEL);
    let health = if newer { Health::Green } else { Health::Yellow };
    let finding = Finding::new("kernel", Chapter::Run, health, format!("Linux {release}"));
    let advice = format!("the chapters were never tried on one older than {}.{}", oldest.0, oldest.1);
    if newer { finding } else { finding.advise(&advice) }
}

/// Each namespace, by entering a new one in a thread that then ends. What to do about a failure is said once: what keeps
/// one from being made mostly keeps all.
fn namespaces() -> Vec<Finding> {
    let kinds = [
        ("mount namespace", CloneFlags::CLONE_NEWNS),
        ("UTS namespace", CloneFlags::CLONE_NEWUTS),
        ("IPC namespace", CloneFlags::CLONE_NEWIPC),
        ("PID namespace", CloneFlags::CLONE_NEWPID),
        ("network namespace", CloneFlags::CLONE_NEWNET),
    ];
    let advice = "inside a container? give it the right to (docker run --privileged), or use a VM";
    let mut findings: Vec<_> = kinds
        .into_iter()
        .map(|(what, kind)| {
            let enter = move || unshare(kind).map(|()| "works".to_string()).context("cannot make a new one");
            let result = thread::spawn(enter).join().unwrap_or_else(|_| Err(anyhow!("the attempt panicked")));
            Finding::tried(what, Chapter::Run, result, Health::Red, "")
        })
        .collect();
    if let Some(last) = findings.iter_mut().rfind(|finding| finding.health == Health::Red) {
        last.advice = advice.to_string();
    }
    findings
}

fn propagation() -> Finding {
    let root = mounts::table().ok().and_then(|mounts| mounts.into_iter().find(|mount| mount.point == "/"));
    let kind = if root.is_some_and(|mount| mount.is_shared()) {
        "/ is shared, as systemd has it: the chapters make it private for themselves"
    } else {
        "/ is private"
    };
    Finding::new("mount propagation", Chapter::Run, Health::Green, kind)
}

fn controllers() -> Vec<Finding> {
    let controllers = [
        ("cgroup memory", "memory", "-m"),
        ("cgroup cpu", "cpu", "--cpu-shares and --cpus"),
        ("cgroup cpuset", "cpuset", "--cpuset-cpus and --cpuset-mems"),
        ("cgroup pids", "pids", "--pids-limit"),
    ];
    controllers
        .into_iter()
        .map(|(what, controller, options)| match hierarchy::of(controller) {
            Ok(Some(found)) => {
                let version = if found.v2 { "v2" } else { "v1" };
                let seen = format!("{version}, at {}", found.point().display());
                Finding::new(what, Chapter::Cgroups, Health::Green, seen)
            }
            Ok(None) => Finding::new(what, Chapter::Cgroups, Health::Yellow, "not on this machine")
                .advise(&format!("{options} will be refused; boot without cgroup_disable={controller}")),
            Err(error) => Finding::new(what, Chapter::Cgroups, Health::Red, format!("{error:#}"))
                .advise("mount /proc and /sys/fs/cgroup"),
        })
        .collect()
}

fn state() -> PathBuf {
    let root = env::var_os("BYHAND_ROOT").filter(|root| !root.is_empty());
    root.map_or("/var/lib/byhand".into(), PathBuf::from)
}

fn busybox() -> Finding {
    let (what, since) = ("busybox", Chapter::PivotRoot);
    let images = state().join("images");
    for made in [images.join("busybox"), images.join("busybox.tar")] {
        if made.exists() {
            return Finding::new(what, since, Health::Green, format!("an image is at {}", made.display()));
        }
    }
    match ["busybox.static", "busybox-static", "busybox"].into_iter().find_map(in_path) {
        Some(path) => Finding::new(what, since, Health::Green, path.display()),
        None => Finding::new(what, since, Health::Red, "not installed, and no image made of it")
            .advise("apt-get install busybox-static"),
    }
}

fn state_directory() -> Finding {
    let result = scratch().map(|scratch| format!("{}, in use or to be made", scratch.state.display()));
    let advice = "set BYHAND_ROOT to a directory that can be written to";
    Finding::tried("state directory", Chapter::PivotRoot, result, Health::Red, advice)
}

/// A directory on the file system that the state directory is or will be on.
struct Scratch {
    directory: tempfile::TempDir,
    state: PathBuf,
}

fn scratch() -> Result<Scratch> {
    let state = state();
    let there = state.ancestors().find(|path| path.is_dir()).context("no directory above it")?;
    let directory = tempfile::tempdir_in(there).with_context(|| format!("{} is needed", state.display()))?;
    Ok(Scratch { directory, state })
}

/// Mounts an overlay where the containers' will be, in a mount namespace that ends with the attempt.
fn overlay() -> Finding {
    let attempt = || {
        let scratch = scratch()?;
        let path = |name: &str| scratch.directory.path().join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(path(name))?;
        }
        host::of_its_own(|| {
            let directory = |name| path(name).display().to_string();
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                directory("lower"),
                directory("upper"),
                directory("work")
            );
            let overlay = Some("overlay");
            nix::mount::mount(overlay, &path("merged"), overlay, MsFlags::empty(), Some(options.as_str()))
                .with_context(|| format!("an overlay cannot be mounted in {}", scratch.state.display()))
        })?;
        Ok("works where the state directory is".to_string())
    };
    let advice = "modprobe overlay; or, if the state directory is itself on an overlay (a container), on NFS \
                  or on a shared folder, set BYHAND_ROOT to a directory on a local disk";
    Finding::tried("overlayfs", Chapter::Overlay, attempt(), Health::Red, advice)
}

/// What a container of chapter 6 has in /dev and /sys, mounted once in namespaces that end with the attempt.
fn surroundings() -> Vec<Finding> {
    let kinds = [
        ("devpts", "newinstance,ptmxmode=0666", "CONFIG_UNIX98_PTYS"),
        ("mqueue", "", "CONFIG_POSIX_MQUEUE"),
        ("sysfs", "", "CONFIG_SYSFS"),
    ];
    kinds
        .into_iter()
        .map(|(kind, options, setting)| {
            let attempt = || {
                let directory = tempfile::tempdir()?;
                host::of_its_own(|| {
                    // Both show what belongs to the namespaces of whoever mounts them.
                    unshare(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET)?;
                    nix::mount::mount(
                        Some(kind),
                        directory.path(),
                        Some(kind),
                        MsFlags::empty(),
                        Some(options),
                    )
                    .with_context(|| format!("{kind} cannot be mounted"))?;
                    if kind == "devpts" {
                        let mut open = fs::OpenOptions::new();
                        open.read(true).write(true).custom_flags(O_NOCTTY);
                        open.open(directory.path().join("ptmx")).context("no terminal can be made")?;
                    }
                    Ok("can be mounted".to_string())
                })
            };
            let advice =
                format!("inside a container? use a VM; a kernel of your own? build it with {setting}");
            Finding::tried(kind, Chapter::Init, attempt(), Health::Red, &advice)
        })
        .collect()
}

/// What chapter 7 sends its signals to.
fn process_descriptors() -> Finding {
    // SAFETY: the call reads no memory of ours.
    let opened = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) });
    let attempt = opened.context("pidfd_open fails").and_then(|fd| {
        nix::unistd::close(fd as i32).context("closing it fails")?;
        Ok("a process can be opened".to_string())
    });
    let advice = "needs Linux 5.3, and no seccomp filter that forbids it: in a container, use a VM";
    Finding::tried("pidfd", Chapter::Lifecycle, attempt, Health::Red, advice)
}

/// What chapter 7 reads its records by, and chapter 8 fills a layer by.
fn careful_opening() -> Finding {
    let how = OpenHow::new().flags(OFlag::O_PATH).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let attempt = fs::File::open("/").context("opening /").and_then(|root| {
        openat2(&root, ".", how).context("openat2 fails")?;
        Ok("a path can be followed with care".to_string())
    });
    let advice = "needs Linux 5.6: chapters 1 to 6 run without; and in a container, a VM in its place";
    Finding::tried("openat2", Chapter::Lifecycle, attempt, Health::Red, advice)
}

/// What `exec` of chapter 7 runs itself from.
fn sealing() -> Finding {
    let (what, since) = ("mount_setattr", Chapter::Lifecycle);
    // SAFETY: the call reads no memory of ours: without a descriptor and a size it fails before.
    let tried = Errno::result(unsafe {
        libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), 0, std::ptr::null::<libc::c_void>(), 0)
    });
    if tried == Err(Errno::ENOSYS) {
        Finding::new(what, since, Health::Yellow, "this kernel has none: `exec` will refuse")
            .advise("needs Linux 5.12; all other commands run without")
    } else {
        Finding::new(what, since, Health::Green, "the kernel has it")
    }
}

/// What chapter 9 makes by itself, tried with others' programs in a network that nobody else is in.
fn network() -> Vec<Finding> {
    let cable = "ip link add x type bridge && ip link add y type veth peer name z";
    let rules = "nft 'add table ip x { flags owner; }
        add chain ip x out { type nat hook postrouting priority 100; }; add rule ip x out oifname != x masquerade
        add chain ip x in { type nat hook prerouting priority -100; }
        add rule ip x in fib daddr type local tcp dport 8080 dnat to 172.30.0.2:80'";
    [
        ("bridge and veth", "ip", cable, "build the kernel with CONFIG_BRIDGE and CONFIG_VETH; --network none works without"),
        ("nftables", "nft", rules, "needs Linux 5.12, with CONFIG_NF_TABLES, NFT_NAT, NFT_MASQ and NFT_FIB_IPV4; --network none works without"),
    ]
    .into_iter()
    .map(|(what, program, script, advice)| {
        if in_path(program).is_none() {
            let seen = format!("not tried: there is no {program}");
            return Finding::new(what, Chapter::Network, Health::Yellow, seen);
        }
        let result = thread::spawn(|| in_new_network(script)).join();
        let result = result.unwrap_or_else(|_| Err(anyhow!("the attempt panicked")));
        Finding::tried(what, Chapter::Network, result, Health::Red, advice)
    })
    .collect()
}

fn in_new_network(script: &str) -> Result<String> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a new network namespace")?;
    let output = Command::new("sh").args(["-c", script]).output().context("starting sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.lines().next().unwrap_or("it failed without a word"));
    Ok("can be made".to_string())
}

/// What chapter 9's containers need from the rules that others have made, so that they reach somebody outside and are
/// reached by a published port. The checks run where no such rules are.
fn forwarding() -> Finding {
    let (what, since) = ("forwarding", Chapter::Network);
    let Tried { out, into, forwards } = match forwarding::attempt() {
        Ok(tried) => tried,
        Err(error) => return Finding::new(what, since, Health::Yellow, format!("not tried: {error:#}")),
    };
    let (sent, comes) = ("what containers send", "what comes for their ports");
    let mut dropped = Vec::new();
    dropped.extend((!out).then_some(sent));
    dropped.extend(matches!(into, Ok(false)).then_some(comes));
    if !dropped.is_empty() {
        let seen = format!("this machine's rules drop {}", dropped.join(", and "));
        return Finding::new(what, since, Health::Yellow, seen).advise(&forwarding::advice());
    }
    let mut seen = match into {
        Ok(_) => format!("no rule drops {sent}, nor {comes}"),
        Err(error) => format!("no rule drops {sent}; {comes} was not tried: {error:#}"),
    };
    if !forwards {
        seen += "; ip_forward is 0, and the first container sets it to 1";
    }
    Finding::new(what, since, Health::Green, seen)
}

/// What `pause` of chapter 7 needs.
fn freezer() -> Finding {
    let (what, since) = ("freezer", Chapter::Lifecycle);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has = table.lines().any(|line| {
        let kind = line.split_once(" - ").map_or("", |(_, kind)| kind);
        let mut words = kind.split(' ');
        match words.next() {
            Some("cgroup2") => true,
            Some("cgroup") => words.nth(1).is_some_and(|options| options.split(',').any(|one| one == what)),
            _ => false,
        }
    });
    if has {
        Finding::new(what, since, Health::Green, "a cgroup can be frozen")
    } else {
        Finding::new(what, since, Health::Yellow, "no tree has it: `pause` will refuse")
            .advise("mount cgroup v2, or version 1's freezer; all other commands run without")
    }
}

fn aufs() -> Finding {
    let (what, since) = ("aufs", Chapter::Aufs);
    let has =
        || fs::read_to_string("/proc/filesystems").unwrap_or_default().lines().any(|l| l.ends_with("\taufs"));
    if !has() {
        // The module may be there and not loaded. Without modprobe, or without root, it is not loaded now either.
        let _ = Command::new("modprobe").arg("aufs").output();
    }
    if has() {
        Finding::new(what, since, Health::Green, "the kernel has it")
    } else {
        Finding::new(what, since, Health::Red, "this kernel has none, as most today")
            .advise("for that one chapter use the classroom VM: see vagrant/README.md")
    }
}

fn terminal() -> Finding {
    if stdin().is_terminal() {
        Finding::new("terminal", Chapter::Run, Health::Green, "stdin is one: -t can use it")
    } else {
        Finding::new(
            "terminal",
            Chapter::Run,
            Health::Yellow,
            "stdin is none: until chapter 5, -t will warn and go on without",
        )
    }
}

fn strace() -> Finding {
    match in_path("strace") {
        Some(path) => Finding::new("strace", Chapter::Run, Health::Green, path.display()),
        None => Finding::new("strace", Chapter::Run, Health::Yellow, "not installed; some checks need it")
            .advise("apt-get install strace"),
    }
}
