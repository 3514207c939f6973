//! A command for several containers: what goes wrong with one is no reason to leave the others out. fork(2), wait(2).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::exit;

use anyhow::{Context, Result, anyhow};
use ch01_run::messages;
use log::debug;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::common::Common;
use crate::record::Record;
use crate::{find, output};

/// What those are asked for that are about one container or more.
#[derive(Debug, clap::Args)]
pub struct Containers {
    #[command(flatten)]
    common: Common,
    /// The containers: names, ids, or the beginnings of ids
    #[arg(required = true)]
    pub containers: Vec<OsString>,
}

impl Containers {
    /// Begins. Returns the state directory.
    pub fn begin(&self) -> Result<PathBuf> {
        self.common.begin()
    }

    /// Begins, finds each, does it with it, and prints it as it was typed. The status is 1 if it went wrong with one, which
    /// was said.
    pub fn each(&self, mut one: impl FnMut(&Record, &OsStr) -> Result<()>) -> Result<u8> {
        let state = self.begin()?;
        each(&self.containers, |word| {
            one(&find::one(&state, word)?, word)?;
            output::print_line(&word.to_string_lossy()).map(|()| true)
        })
    }

    /// The same, but with all at the same time.
    pub fn at_once(&self, one: impl Fn(&Record) -> Result<()>) -> Result<u8> {
        let state = self.begin()?;
        at_once(&self.containers, |word| one(&find::one(&state, word)?))
    }
}

/// Does it with each, one after the other. The status is 1 if it went wrong with one, which was said.
pub fn each(words: &[OsString], mut one: impl FnMut(&OsStr) -> Result<bool>) -> Result<u8> {
    let mut status = 0;
    for word in words {
        let done = one(word).unwrap_or_else(|error| {
            messages::fail(&error);
            false
        });
        status |= u8::from(!done);
    }
    Ok(status)
}

/// Does it with all at the same time, in a process for each, because each mostly waits. Prints those with which it went
/// well, in their order; what goes wrong with others is said.
fn at_once(words: &[OsString], one: impl Fn(&OsStr) -> Result<()>) -> Result<u8> {
    let mut children: Vec<(Pid, &OsStr)> = Vec::new();
    for word in words {
        debug!("fork()");
        // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
        match unsafe { fork() }.context("forking a process for one of several containers")? {
            ForkResult::Parent { child } => children.push((child, word)),
            ForkResult::Child => exit(one(word).map_or_else(|error| messages::fail(&error), |()| 0).into()),
        }
    }
    let mut status = 0;
    for (child, word) in children {
        match waitpid(child, None).context("waiting for a process of ours")? {
            WaitStatus::Exited(_, 0) => output::print_line(&word.to_string_lossy())?,
            WaitStatus::Signaled(_, signal, _) => {
                messages::fail(&anyhow!("{}: {signal} ended the process that was to do it", word.display()));
                status = 1;
            }
            _ => status = 1, // it has said why
        }
    }
    Ok(status)
}
