//! From the caller's process to a keeper's: fork(2), wait(2).

use std::os::fd::OwnedFd;
use std::process::exit;

use anyhow::{Context, Result};
use ch01_run::errors::RUNTIME_FAILED;
use ch01_run::signals::HeldSignals;
use ch06_init::pty;
use log::debug;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::asked::Plan;
use crate::client::{self, Wants};
use crate::keeper::{self, Start};
use crate::record::Record;
use crate::{orphans, wire};

/// How the caller and the container go on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// The container ends with the caller: `run`.
    Leash,
    /// The caller stays, and may leave: `start -a`.
    Attached,
    /// The caller leaves when the command runs: `run -d`, `start`.
    Detached,
}

/// Makes a keeper for the container, and stays with it as `bond` says. Returns the exit status: the container's, or 0 of
/// one that was left. The lock of an old container goes to its keeper.
pub fn launch(plan: &Plan, old: Option<Record>, bond: Bond, keys: bool, signals: &HeldSignals) -> Result<u8> {
    let (ours, theirs) = wire::pair()?;
    let keeper = fork_keeper(plan, old, bond, (ours, theirs), signals)?;
    let wants = Wants {
        keys: keys && bond != Bond::Detached,
        terminal: plan.asked.options.terminal,
        start_only: bond == Bond::Detached,
        is_there: false,
    };
    let followed = client::follow(&keeper.socket, &wants, signals, &|signal| keeper.pass_on(signal));
    match followed.transpose() {
        None => Ok(0),
        Some(Err(error)) if bond == Bond::Attached => {
            orphans::sweep(&plan.state)?; // the keeper may have been killed; else the container goes on without us
            Err(error)
        }
        Some(ended) => keeper.end(plan, ended),
    }
}

/// A keeper that is our child.
#[derive(Debug)]
struct Keeper {
    pid: Pid,
    socket: OwnedFd,
}

fn fork_keeper(
    plan: &Plan,
    old: Option<Record>,
    bond: Bond,
    (ours, theirs): (OwnedFd, OwnedFd),
    signals: &HeldSignals,
) -> Result<Keeper> {
    debug!("fork()");
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }.context("forking a keeper")? {
        ForkResult::Parent { child } => Ok(Keeper { pid: child, socket: ours }),
        ForkResult::Child => {
            drop(ours); // or we would never see that the other side is gone
            let start = Start {
                plan,
                old,
                client: theirs,
                leash: bond == Bond::Leash,
                size: if plan.asked.options.terminal { pty::callers_size() } else { None },
                signals,
            };
            // What it can't tell us, nobody else is there to hear; and we see that it's gone.
            exit(keeper::keep(start).map_or(RUNTIME_FAILED, |()| 0).into())
        }
    }
}

impl Keeper {
    /// Sends the keeper a signal, which it passes on. It's our child and not reaped, so its number is nobody else's.
    fn pass_on(&self, signal: Signal) -> Result<()> {
        debug!("kill({}, {signal})", self.pid);
        kill(self.pid, signal).with_context(|| format!("passing on {signal} to the keeper"))
    }

    /// Waits for the keeper's own end, so that nothing of us is left when we end.
    fn end(self, plan: &Plan, followed: Result<u8>) -> Result<u8> {
        drop(self.socket); // the sign for it to end, if it hasn't
        waitpid(self.pid, None).context("waiting for the keeper")?;
        if followed.is_err() {
            orphans::sweep(&plan.state)?; // it may have been killed
        }
        followed
    }
}
