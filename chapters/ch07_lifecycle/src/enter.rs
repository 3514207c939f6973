//! Into a container that runs: setns(2), fork(2), ptmx(4), prctl(2).
//!
//! Two processes go in. The first has the container's files, its cgroups and its network, but stays among the host's
//! processes, where nobody in the container sees it. It forks the second, which is seen, and has nothing of the host by
//! then. That one becomes the command.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::exit;

use anyhow::{Context, Result, ensure};
use ch01_run::{messages, namespaces};
use ch06_init::{init, pty};
use log::debug;
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, Winsize, posix_openpt, unlockpt};
use nix::sched::setns;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::unistd::{ForkResult, Pid, close, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use crate::descriptors::close_others_but;
use crate::ends;
use crate::process1::Process1;
use crate::report::Report;

/// Goes from the host's namespaces to those of the container's process 1, all in one step. No other descriptor than 0, 1
/// and 2 stays open, and the one that is `kept`. The directory is the container's root then.
pub fn enter(process1: &Process1, kept: RawFd) -> Result<()> {
    close_others_but(&[process1.as_fd().as_raw_fd(), kept])?; // before any path of the container's is followed
    let pid = process1.pid();
    debug!("setns(pidfd of {pid}, CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWPID|CLONE_NEWNET)");
    setns(process1, namespaces::OWN).with_context(|| format!("entering the namespaces of process {pid}"))?;
    close_others_but(&[kept])
}

/// In the place of streams that go somewhere: a session without a terminal, and the host's /dev/null for all three.
pub fn without_streams() -> Result<()> {
    debug!("setsid()");
    setsid().context("making a session without a terminal")?;
    ends::to_nowhere(true)
}

/// What the kernel sends to the process that watches over the command when its client is gone, and nobody else.
const CLIENT_GONE: Signal = Signal::SIGUSR1;

/// Forks the `command`, with a session of its own, and the process number that it has in the container: setns(2) has
/// changed that for children only. This process watches over it, and exits with its status. It returns only if there is
/// no child, and in the child if that cannot become the command.
///
/// A `bound` command dies with us and with our parent, whatever it is by then: the kernel forgets the wish of who becomes
/// another user, or executes a set-user-ID program, but we do neither.
pub fn fork_command(
    bound: bool,
    report: &Report,
    command: impl FnOnce() -> Result<Infallible>,
) -> Result<Infallible> {
    let signals = init::hold_all()?;
    if bound {
        // In the place of SIGKILL, which would leave us no time.
        debug!("prctl(PR_SET_PDEATHSIG, {CLIENT_GONE})");
        set_pdeathsig(CLIENT_GONE).context("asking to hear of the parent's end")?;
    }
    debug!("fork()");
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }.context("forking the command")? {
        ForkResult::Parent { child } => {
            let _ = close(report.descriptor()); // open here, it would hide that the command runs
            let status = watch(child, &signals).unwrap_or_else(|error| messages::fail(&error));
            exit(status.into())
        }
        ForkResult::Child => {
            debug!("setsid()");
            setsid().context("making the command's session")?;
            if bound {
                report.stay_bound()?;
            }
            command()
        }
    }
}

/// Hands each signal on, as an init does, until the command has ended. Returns its status.
fn watch(command: Pid, signals: &SigSet) -> Result<u8> {
    loop {
        match signals.wait().context("waiting for a signal")? {
            Signal::SIGCHLD => {
                if let Some(status) = init::reap_all(command)? {
                    return Ok(status);
                }
            }
            // Its group with it: what a script has started. It's not reaped, so the number is nobody else's.
            CLIENT_GONE => drop(killpg(command, Signal::SIGKILL)),
            signal => init::hand_on(signal, command)?,
        }
    }
}

/// Makes a terminal of this `size` from the container's devpts, sends its outer end through the socket that is our stdin,
/// and puts its inner end in the place of stdin, stdout and stderr. /dev/console is process 1's.
pub fn open_terminal(size: Option<Winsize>) -> Result<()> {
    debug!("open(\"/dev/ptmx\"), ioctl(TIOCSPTLCK), ioctl(TIOCGPTPEER)");
    let outer = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .context("opening a terminal")?;
    ensure_is_terminal(&outer)?;
    unlockpt(&outer).context("unlocking the terminal")?;
    let inner = pty::inner_end(&outer)?;
    if let Some(size) = size {
        pty::resize(&outer, &size)?;
    }
    pty::send(&outer)?;
    dup2_stdin(&inner)
        .and_then(|()| dup2_stdout(&inner))
        .and_then(|()| dup2_stderr(&inner))
        .context("making the terminal stdin, stdout and stderr")
}

/// What is at /dev/ptmx is the container's to say. Any other device or file there would get what is typed.
fn ensure_is_terminal(outer: &PtyMaster) -> Result<()> {
    let data = fstat(outer).context("looking at /dev/ptmx")?;
    let filesystem = fstatfs(outer).context("looking at /dev/ptmx")?.filesystem_type();
    let is_device = data.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    ensure!(
        is_device && data.st_rdev == makedev(5, 2) && filesystem == DEVPTS_SUPER_MAGIC,
        "/dev/ptmx in the container does not make terminals"
    );
    Ok(())
}
