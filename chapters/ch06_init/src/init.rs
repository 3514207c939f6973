//! Process 1 of a container, where the command is not it: signal(7), wait(2), setsid(2), pid_namespaces(7).
//!
//! It has three duties: to hand signals on, to reap what others leave, and to end as the command does. It keeps the
//! user and the group it was made with, so the kernel never forgets that it is to die with `run`.

use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, exit};

use anyhow::{Context, Result};
use ch01_run::messages;
use log::debug;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork, setsid};

/// Becomes the container's init. The `command` runs in a child, in a session of its own. Returns only if there is no
/// such child; else this process exits with the command's status, or 128+n if signal n killed it.
pub fn become_init(command: impl FnOnce() -> Result<Infallible>) -> Result<Infallible> {
    let signals = hold_all()?;
    debug!("fork()");
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }.context("forking the command")? {
        ForkResult::Parent { child } => {
            drop(command); // and with it what it has open, which would stay open here
            let status = do_duty(child, &signals).unwrap_or_else(|error| messages::fail(&error));
            // With us, the kernel kills all that is left in the namespace.
            exit(status.into())
        }
        ForkResult::Child => {
            // A session of its own: in ours, a process group that Ctrl-Z stops would stay stopped, because only a
            // shell there could let it go on. In one that no shell watches, the kernel drops that signal.
            debug!("setsid()");
            setsid().context("making the command's session")?;
            command()
        }
    }
}

/// Holds all signals that have a name: to a process 1 the kernel gives only those that it has a handler for, or holds.
/// The real-time signals mean nothing to an init, and so the kernel drops them.
pub fn hold_all() -> Result<SigSet> {
    let all = SigSet::from_iter(Signal::iterator());
    debug!("sigprocmask(SIG_SETMASK, 1 to 31)");
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).context("holding all signals")?;
    Ok(all)
}

/// Hands on each signal, and reaps, until the command has ended. Returns its status.
fn do_duty(command: Pid, signals: &SigSet) -> Result<u8> {
    loop {
        match signals.wait().context("waiting for a signal")? {
            Signal::SIGCHLD => {
                if let Some(status) = reap_all(command)? {
                    return Ok(status);
                }
            }
            signal => hand_on(signal, command)?,
        }
    }
}

/// Hands a signal on.
pub fn hand_on(signal: Signal, command: Pid) -> Result<()> {
    match kill(command, signal) {
        Err(Errno::ESRCH) => Ok(()), // it has ended just now: SIGCHLD comes next
        sent => sent.with_context(|| format!("handing on {signal}")),
    }
}

/// Reaps all that has ended: the command, and orphans, whose parent the kernel has made us. One SIGCHLD can stand for
/// many ends, because a signal that waits already is not kept twice.
pub fn reap_all(command: Pid) -> Result<Option<u8>> {
    let mut status = None;
    loop {
        let mut how = 0;
        // Not nix's, which knows no real-time signals: of what one of these has killed it says EINVAL.
        // SAFETY: the kernel writes a number that lives as long as the call.
        match Errno::result(unsafe { libc::waitpid(-1, &mut how, libc::WNOHANG) }) {
            Ok(0) | Err(Errno::ECHILD) => return Ok(status), // all live, or nobody is there
            Ok(pid) if pid == command.as_raw() => {
                let ended = ExitStatus::from_raw(how);
                // 0 to 255, or 128 and 1 to 64: wait(2).
                status = ended.code().or_else(|| Some(128 + ended.signal()?)).map(|status| status as u8);
            }
            Ok(_) => {} // an orphan, gone now
            Err(errno) => return Err(errno).context("reaping"),
        }
    }
}
