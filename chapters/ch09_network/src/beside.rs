//! A process beside the keeper, for what a container needs on the host as long as it runs: fork(2), pipe(2).
//!
//! The keeper is one thread that waits for many things, and it should stay one. So what serves others, in threads, is a
//! second process. It ends when the keeper lets go of a pipe, which the kernel does for it in any case.

use std::convert::Infallible;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::exit;

use anyhow::{Context, Result, ensure};
use ch01_run::errors;
use ch07_lifecycle::{descriptors, ends};
use log::debug;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, close, fork};

/// Starts the process, which keeps what is `open`, and whose `work` is to start threads. It ends when what this returns
/// is closed, and before that it does what comes `last`.
pub fn start(open: &[RawFd], work: impl FnOnce() -> Result<()>, last: impl FnOnce()) -> Result<OwnedFd> {
    let (until, ours) = io::pipe().context("making a pipe")?;
    let (mut starts, ready) = io::pipe().context("making a pipe")?;
    debug!("fork(), and in the child fork()");
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }.context("forking a process beside the keeper")? {
        // It's the child of nobody who would have to wait for it: a child of a child.
        ForkResult::Child => {
            // SAFETY: as above.
            let ended = match unsafe { fork() }.context("forking a process beside the keeper") {
                Ok(ForkResult::Parent { .. }) => exit(0),
                Ok(ForkResult::Child) => stay(open, until, &ready, work, last).map(|never| match never {}),
                Err(error) => Err(error),
            };
            let why = ended.map_or_else(|error| errors::one_line(&error), |()| String::new());
            let _ = (&ready).write_all(why.as_bytes()); // if nobody hears it, nobody is there
            exit(1)
        }
        ForkResult::Parent { child } => {
            drop(ready);
            waitpid(child, None).context("waiting for the parent of the process beside the keeper")?;
            let mut said = String::new();
            starts.read_to_string(&mut said).context("waiting for the process beside the keeper")?;
            ensure!(!said.is_empty(), "the process beside the keeper was killed");
            ensure!(said == READY, "starting the process beside the keeper: {said}");
            Ok(ours.into())
        }
    }
}

/// What the process says when it serves.
const READY: &str = "ready";

/// All that the process does. It must keep nothing open of its maker's, least of all the lock that says the container
/// lives, and nothing of the caller's, whom the keeper leaves later.
fn stay(
    open: &[RawFd],
    mut until: PipeReader,
    mut ready: &PipeWriter,
    work: impl FnOnce() -> Result<()>,
    last: impl FnOnce(),
) -> Result<Infallible> {
    let pipes = [until.as_raw_fd(), ready.as_raw_fd()];
    descriptors::close_others_but(&[open, &pipes].concat())?;
    ends::to_nowhere(true)?;
    std::env::set_current_dir("/").context("leaving the caller's directory")?;
    work()?;
    ready.write_all(READY.as_bytes()).context("saying that it's ready")?;
    close(ready.as_raw_fd()).context("closing the pipe that says so")?;
    let _ = until.read(&mut [0]); // nobody writes: it's over when there's nobody who could
    last();
    exit(0)
}
