//! What is typed, for a container that has not got the terminal: pipe(2), fork(2), and the job control of termios(3).
//!
//! A container without `-t` is in a session of its own, where no job control holds it back: given the caller's terminal
//! as its stdin, it would go on reading while the caller's shell is in the foreground, and get half of what is typed
//! there. So it gets a pipe, and a process in the caller's job copies into it: that one stops when the job does.

use std::io::{self, IsTerminal, PipeReader, PipeWriter, stdin};

use anyhow::{Context, Result};
use log::debug;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stdin, fork};

use crate::signals::{self, HeldSignals, Stopped};

/// The process that copies, and the pipe's end for the container. Dropped, the process is killed and reaped.
#[derive(Debug)]
pub struct TypedInput {
    copier: Pid,
    pipe: PipeReader,
}

impl TypedInput {
    /// Begins to copy if the container is to read what is typed: it is `wanted`, and stdin is a terminal. Files and
    /// pipes need no copy.
    pub fn of_stdin(wanted: bool) -> Result<Option<TypedInput>> {
        if !wanted || !stdin().is_terminal() {
            return Ok(None);
        }
        let (reader, writer) = io::pipe().context("making a pipe for what is typed")?;
        debug!("fork()");
        // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
        match unsafe { fork() }.context("forking a process that copies what is typed")? {
            ForkResult::Parent { child } => Ok(Some(TypedInput { copier: child, pipe: reader })),
            ForkResult::Child => {
                drop(reader); // so that the container's end is the last one
                let _ = copy(writer);
                std::process::exit(0)
            }
        }
    }

    /// In the child: makes the pipe its stdin.
    pub fn become_stdin(&self) -> Result<()> {
        debug!("dup2 of the pipe to 0");
        dup2_stdin(&self.pipe).context("making a pipe the command's stdin")
    }

    /// Stops the copying and then this process, as the shell wants it that sent SIGTSTP, until it wants us to go on.
    pub fn stop(&self, signals: &HeldSignals) -> Result<()> {
        debug!("kill({}, SIGSTOP)", self.copier);
        let _ = kill(self.copier, Signal::SIGSTOP); // not reaped yet, as in drop
        signals::wait_until_stopped(self.copier)?;
        signals.stop(Stopped::Process, Signal::SIGSTOP)?;
        debug!("kill({}, SIGCONT)", self.copier);
        let _ = kill(self.copier, Signal::SIGCONT);
        Ok(())
    }
}

/// Copies until the end of the input, or of whoever reads it. The signals that are passed on stay blocked here: who ends
/// the container decides about it, and this ends with it.
fn copy(mut writer: PipeWriter) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let stops = SigSet::from_iter([Signal::SIGTSTP, Signal::SIGCONT]);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&stops), None)?;
    io::copy(&mut stdin().lock(), &mut writer)?;
    Ok(())
}

impl Drop for TypedInput {
    fn drop(&mut self) {
        // Not reaped yet, so it is still this process's id, and nobody else's.
        let _ = kill(self.copier, Signal::SIGKILL);
        let _ = waitpid(self.copier, None);
    }
}
