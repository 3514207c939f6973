//! The wrong runtimes of chapter 6: its own story but for the steps that ask `wrong(...)`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, IoSlice, IsTerminal, Read, Write, stderr, stdin, stdout};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, exit};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ch01_run::child::Child;
use ch01_run::exec::{environment, exec};
use ch01_run::signals::HeldSignals;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::cgroup::Cgroup;
use ch02_cgroups::mountinfo;
use ch03_pivot_root::{image, rootfs, state};
use ch04_overlay::workspace::Workspace;
use ch04_overlay::{remains, volatile};
use ch05_volumes::spec::{self, Volume};
use ch05_volumes::volumes;
use ch06_init::carriers::Carriers;
use ch06_init::pipes::Pipes;
use ch06_init::raw::CallersModes;
use ch06_init::streams::Streams;
use ch06_init::tmpfs::{self, Tmpfs};
use ch06_init::worker::Worker;
use ch06_init::{filesystems, init, pty, relay};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{
    ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, setpgid, setsid, tcsetpgrp,
};

use super::{Run, wrong};

/// What the command line says, without what this runtime leaves out of it.
pub fn words() -> Vec<OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    if wrong("tmpfs-bad-ignored") {
        // As gocker does with volumes: one that cannot be parsed is left out.
        let is_bad = |words: &[OsString]| {
            words[0] == "--tmpfs" && words[1].to_str().is_none_or(|text| text.parse::<Tmpfs>().is_err())
        };
        if let Some(at) = words.windows(2).position(is_bad) {
            words.drain(at..at + 2);
        }
    }
    words
}

pub fn run(args: &Run) -> Result<u8> {
    messages::start_log(args.options.log_level)?;
    namespaces::require_root()?;
    inherited::normalize()?;
    if wrong("two-pipes")
        && stderr().is_terminal()
        && let Ok(terminal) = File::options().write(true).open("/dev/tty")
    {
        // Docker: stdout and stderr each through a pipe of its own, wherever they lead. This name hides that it's the same.
        dup2_stderr(terminal)?;
    }
    let id = id::random()?;
    let volumes = spec::parse_all(&args.volumes)?;
    let state = state::root()?;
    let image = match &args.rootfs {
        Some(directory) => image::checked(directory)?,
        None => image::busybox(&state)?,
    };
    remains::remove_all(&state)?;
    let signals = HeldSignals::hold()?;
    let (streams, mut carriers) = streams(args, &signals)?;
    // Whoever stops us finds the terminal as it is just then.
    let _kept = if wrong("stopped-raw") { carriers.modes.take() } else { None };
    let cgroup = Cgroup::create(&id, &args.limits)?;
    let workspace = Workspace::create(&state, &id)?;
    let confine = || inside(args, &id, &image, &workspace, &volumes, &cgroup, streams.as_ref());
    let mut container = child::spawn(namespaces::OWN, confine)?;
    drop(streams);
    carriers.wait_for_foreground(&signals)?;
    container.start(&signals)?;
    if wrong("stays-raw") {
        // Nobody has them any more who would set them again.
        std::mem::forget(carriers.modes.take());
    }
    let status = if wrong("output-cut") {
        wait_for_end_alone(&mut container, &signals)?
    } else {
        carriers.wait(&mut container, &signals)?
    };
    drop(carriers);
    if let kills @ 1.. = cgroup.oom_kills()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    cgroup.remove()?;
    workspace.remove()?;
    Ok(status)
}

fn inside(
    args: &Run,
    id: &str,
    image: &Path,
    workspace: &Workspace,
    volumes: &[Volume],
    cgroup: &Cgroup,
    streams: Option<&Streams>,
) -> Result<Infallible> {
    let (hostname, merged) = (args.options.hostname_or(id), workspace.merged());
    cgroup.join()?;
    match streams {
        Some(streams) => streams.enter()?,
        None => drop(setsid()?),
    }
    mounts::make_private()?;
    volatile::mount(&[image], &workspace.upper(), &workspace.work(), &merged)?;
    // This book, once: /sys came new in this chapter, and the list of chapter 5 stayed.
    let places = if wrong("volume-under-sys") { &filesystems::PLACES[..2] } else { &filesystems::PLACES };
    volumes::mount_all(volumes, &merged, places)?;
    borrow_mounts(&merged)?;
    let of_host = wrong("pty-of-host") && args.options.terminal;
    if of_host {
        open_terminal_of_host()?;
    }
    descriptors::close_others()?;
    rootfs::pivot(&merged)?;
    rootfs::mount_proc()?;
    filesystems::mount_all(if wrong("shm-size-ignored") { 64 << 20 } else { args.surroundings.shm_size })?;
    mount_wrong()?;
    mount_tmpfs(&args.surroundings.tmpfs, volumes)?;
    namespaces::set_hostname(hostname)?;
    match streams {
        _ if of_host => {}
        Some(streams) => streams.complete()?,
        None if args.options.interactive => {}
        None => descriptors::stdin_from_null()?,
    }
    if wrong("no-console") && args.options.terminal {
        umount2("/dev/console", MntFlags::empty())?;
        fs::remove_file("/dev/console")?;
    }
    // Without TIOCSCTTY: who has the terminal open, but not for its own. Keys send nobody a signal.
    let terminal = streams.filter(|_| !wrong("no-control"));
    let take_terminal = || terminal.map_or(Ok(()), Streams::take_terminal);
    let command = || exec(&args.command, &environment(hostname));
    if !args.surroundings.init || wrong("init-ignored") {
        take_terminal()?;
        command()
    } else if wrong("init-shares-session") {
        // tini: the command is a job of the session that the init leads.
        take_terminal()?;
        become_init(|| {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            if args.options.terminal {
                tcsetpgrp(stdin(), getpid())?;
            }
            command()
        })
    } else {
        let in_its_session = || take_terminal().and_then(|()| command());
        if super::name().is_some_and(|(_, name)| name.starts_with("init-")) {
            become_init(|| setsid().context("making a session").and_then(|_| in_its_session()))
        } else {
            init::become_init(in_its_session)
        }
    }
}

/// The container's stdin, stdout and stderr. `None` is the caller's own.
fn streams(args: &Run, signals: &HeldSignals) -> Result<(Option<Streams>, Carriers)> {
    let no_terminal = wrong("terminal-needed") && !stdin().is_terminal();
    if args.options.terminal && !no_terminal {
        let (streams, carriers) = terminal(args.options.interactive, signals)?;
        return Ok((Some(streams), carriers));
    }
    if wrong("terminal-handed-in") {
        // All but Docker, and this book until here: root inside can push characters into it (TIOCSTI).
        return Ok((None, Carriers::default()));
    }
    let (pipes, carriers) = Pipes::make(args.options.interactive)?;
    Ok((Some(Streams::Pipes(pipes)), carriers))
}

/// As `Streams` does it, but for who carries.
fn terminal(keys: bool, signals: &HeldSignals) -> Result<(Streams, Carriers)> {
    let (ours, theirs) = UnixStream::pair()?;
    let modes = if keys { CallersModes::of_stdin()? } else { None };
    // What is typed is echoed here, too, and Ctrl-C is ours.
    let raw = modes.as_ref().filter(|_| !wrong("not-raw"));
    let mut theirs = Some(theirs);
    let worker = Worker::start(|| {
        theirs = None;
        if wrong("size-once") || wrong("reader-gone-ignored") {
            carry_simply(&ours, keys, raw, signals)
        } else {
            relay::carry(&ours, keys, raw, signals)
        }
    })?;
    let streams = Streams::Terminal(theirs.context("no socket")?, pty::callers_size());
    Ok((streams, Carriers { typing: None, printing: vec![worker], modes }))
}

/// As most tutorials have it: a loop for each direction, and nothing about signals, so that a new size gets lost, and
/// after a stop the terminal is not raw again.
fn carry_simply(
    container: &UnixStream,
    keys: bool,
    modes: Option<&CallersModes>,
    signals: &HeldSignals,
) -> Result<()> {
    let Some(mut terminal) = pty::receive(container)? else { return Ok(()) };
    modes.map_or(Ok(()), |modes| modes.make_raw(signals))?;
    if keys {
        let mut typed = terminal.try_clone()?;
        thread::spawn(move || io::copy(&mut stdin(), &mut typed).and_then(|_| typed.write_all(b"\x04\x04")));
    }
    let mut bytes = [0; 4096];
    while let Ok(there @ 1..) = terminal.read(&mut bytes) {
        let written = stdout().write_all(&bytes[..there]).and_then(|()| stdout().flush());
        if written.is_err() && !wrong("reader-gone-ignored") {
            break;
        }
    }
    Ok(())
}

/// A moment after the command's end nobody carries any more what it printed. Nor does this know how to be stopped.
fn wait_for_end_alone(container: &mut Child, signals: &HeldSignals) -> Result<u8> {
    loop {
        match signals.next()? {
            Signal::SIGCHLD => {
                if let Some(status) = container.reap()? {
                    thread::sleep(Duration::from_secs(1));
                    return Ok(status);
                }
            }
            Signal::SIGTSTP | Signal::SIGCONT => {}
            signal => container.pass_on(signal)?,
        }
    }
}

/// Docker until 2014, and whoever calls openpty(3) outside: the terminal works, but has no name inside.
fn open_terminal_of_host() -> Result<()> {
    let outer = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY)?;
    grantpt(&outer)?;
    unlockpt(&outer)?;
    let flags = OFlag::O_NOCTTY.bits();
    let inner = File::options().read(true).write(true).custom_flags(flags).open(ptsname_r(&outer)?)?;
    if let Some(size) = pty::callers_size() {
        pty::resize(&outer, &size)?;
    }
    let (byte, fds) = ([IoSlice::new(b"t")], [outer.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(stdin().as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)?;
    dup2_stdin(&inner)?;
    dup2_stdout(&inner)?;
    Ok(dup2_stderr(&inner)?)
}

/// Where the host's own is bound into the container until its place is there.
const BORROWED: &str = "borrowed";

/// The host's own file systems that are seen inside: which defect, which kind, and where.
const OF_HOST: [(&str, &str, &str); 2] =
    [("sys-of-host", "sysfs", "/sys"), ("mqueue-of-host", "mqueue", "/dev/mqueue")];

/// The host's own is bound where the container's should be: a small runtime's /sys, and the queues of `--ipc=host`.
fn borrow_mounts(merged: &Path) -> Result<()> {
    for (_, kind, _) in OF_HOST.iter().filter(|(defect, ..)| wrong(defect)) {
        if let Some(mount) = mountinfo::read()?.iter().rfind(|mount| mount.filesystem == *kind) {
            fs::create_dir(merged.join(BORROWED))?;
            mounts::mount(&mount.target, merged.join(BORROWED), "", MsFlags::MS_BIND, "")?;
        }
    }
    Ok(())
}

/// What is wrong in /dev and /sys, once all is mounted.
fn mount_wrong() -> Result<()> {
    let special = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let borrowed = Path::new("/").join(BORROWED);
    for (_, _, place) in OF_HOST.iter().filter(|(defect, ..)| wrong(defect) && borrowed.exists()) {
        umount2(*place, MntFlags::empty())?;
        mounts::mount(&borrowed, place, "", MsFlags::MS_MOVE, "")?;
    }
    if wrong("sys-of-host") {
        mounts::mount(
            "",
            "/sys",
            "",
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | special,
            "",
        )?;
    }
    if wrong("sys-writable") {
        umount2("/sys", MntFlags::empty())?;
        mounts::mount("sysfs", "/sys", "sysfs", special, "")?;
    }
    if wrong("shm-plain") {
        // Half of the machine's memory, and programs may lie there.
        umount2("/dev/shm", MntFlags::empty())?;
        mounts::mount("shm", "/dev/shm", "tmpfs", MsFlags::empty(), "")?;
    }
    if wrong("shm-missing") {
        umount2("/dev/shm", MntFlags::empty())?;
        fs::remove_dir("/dev/shm")?;
    }
    if wrong("ptmx-closed") {
        // What devpts gives a new instance, unless someone says ptmxmode=.
        fs::set_permissions("/dev/pts/ptmx", fs::Permissions::from_mode(0o000))?;
    }
    Ok(())
}

fn mount_tmpfs(all: &[Tmpfs], volumes: &[Volume]) -> Result<()> {
    if wrong("tmpfs-options-ignored") {
        let plain = all.iter().filter_map(|one| one.target.to_str()?.parse().ok()).collect::<Vec<_>>();
        return tmpfs::mount_all(&plain);
    }
    if wrong("tmpfs-as-given") {
        // One after the other, and each covers those before.
        return all.iter().try_for_each(|one| tmpfs::mount_all(std::slice::from_ref(one)));
    }
    match tmpfs::mount_all(all) {
        Err(_) if wrong("tmpfs-bad-ignored") => Ok(()),
        Err(_) if wrong("tmpfs-covers-volumes") && !volumes.is_empty() => {
            all.iter().try_for_each(|one| {
                mounts::mount("tmpfs", &one.target, "tmpfs", MsFlags::empty(), "").map(drop)
            })?;
            Ok(())
        }
        done => done,
    }
}

/// An init, with what is wrong about it.
fn become_init(command: impl FnOnce() -> Result<Infallible>) -> Result<Infallible> {
    let all = SigSet::from_iter(Signal::iterator());
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
    // An interpreter and its script, as phusion's my_init.
    let memory = if wrong("init-large") { vec![1_u8; 4 << 20] } else { Vec::new() };
    if wrong("init-outlives-run") {
        nix::sys::prctl::set_pdeathsig(None)?;
    }
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            let status = do_duty(child, &all)?;
            black_box(&memory);
            exit(if wrong("init-ends-with-0") { 0 } else { status.into() })
        }
        ForkResult::Child => command(),
    }
}

fn do_duty(command: Pid, signals: &SigSet) -> Result<u8> {
    let mut ended = None;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {
                // `wait` for the command alone: all that others leave stays.
                let whom = if wrong("init-reaps-nothing") { command.as_raw() } else { -1 };
                let mut how = 0;
                // SAFETY: the kernel writes a number that lives as long as the call.
                while let pid @ 1.. = unsafe { libc::waitpid(whom, &mut how, libc::WNOHANG) } {
                    let status = ExitStatus::from_raw(how);
                    // As nix's, which has no names for the others.
                    if wrong("init-knows-names-only") && status.signal().is_some_and(|number| number > 31) {
                        return Err(Errno::EINVAL).context("reaping");
                    }
                    if pid == command.as_raw() {
                        let killed = || status.signal().map(|number| 128 + number);
                        ended = status.code().or_else(killed).map(|status| status as u8);
                    }
                    // One for each signal; but the kernel keeps only one that waits.
                    if wrong("init-reaps-one") {
                        break;
                    }
                }
                // As sysvinit, which has no command: until nobody is left.
                let others = || !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
                match ended {
                    Some(_) if wrong("init-waits-for-all") && others() => {}
                    Some(status) => return Ok(status),
                    None => {}
                }
            }
            _ if wrong("init-keeps-signals") => {}
            signal => drop(kill(command, signal)),
        }
    }
}
