//! What is the container's stdin, stdout and stderr: a terminal of its own, or pipes, or the caller's files. unix(7),
//! setsid(2).
//!
//! A terminal of the caller's never gets in. Who has one open can read what is typed there, and root can push characters
//! into it as if they had been typed (TIOCSTI). A process of ours, outside, carries what goes through.

use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use log::debug;
use nix::pty::Winsize;
use nix::unistd::{dup2_stdin, setsid};

use crate::carriers::Carriers;
use crate::pipes::Pipes;
use crate::raw::CallersModes;
use crate::worker::Worker;
use crate::{pty, relay};

/// The container's ends. Drop them as soon as the child is there: it has its own copies, and while ours are open nobody
/// sees that the container has closed its.
#[derive(Debug)]
pub enum Streams {
    /// Files and pipes.
    Pipes(Pipes),
    /// A terminal, once there is one: the way out for it, and the size that it is to have.
    Terminal(UnixStream, Option<Winsize>),
}

impl Streams {
    /// Makes them, and the processes that copy, for what the options say and what the caller's own are.
    pub fn make(options: &Options, signals: &HeldSignals) -> Result<(Streams, Carriers)> {
        if options.terminal {
            return Streams::terminal(options.interactive, signals);
        }
        let (pipes, carriers) = Pipes::make(options.interactive)?;
        Ok((Streams::Pipes(pipes), carriers))
    }

    fn terminal(interactive: bool, signals: &HeldSignals) -> Result<(Streams, Carriers)> {
        let (ours, theirs) = UnixStream::pair().context("making a socket for the terminal")?;
        let modes = if interactive { CallersModes::of_stdin()? } else { None };
        let mut theirs = Some(theirs);
        let worker = Worker::start(|| {
            theirs = None; // the container's alone, so that we see its end
            relay::carry(&ours, interactive, modes.as_ref(), signals)
        })?;
        let socket = theirs.context("a socket that is still ours")?;
        let streams = Streams::Terminal(socket, pty::callers_size());
        Ok((streams, Carriers { typing: None, printing: vec![worker], modes }))
    }

    /// In the child, first: leaves the caller's session, and so its terminal, and takes what is prepared. With a terminal
    /// to come, stdin is the way out for it until then, because that is one of the three descriptors that stay open.
    pub fn enter(&self) -> Result<()> {
        debug!("setsid()");
        setsid().context("making a session without a terminal")?;
        match self {
            Streams::Pipes(pipes) => pipes.enter(),
            Streams::Terminal(socket, _) => dup2_stdin(socket).context("keeping the socket"),
        }
    }

    /// In the child, when its /dev is there: makes the terminal, or opens /dev/null.
    pub fn complete(&self) -> Result<()> {
        match self {
            Streams::Pipes(pipes) => pipes.complete(),
            Streams::Terminal(_, size) => pty::open(*size),
        }
    }

    /// In the command's process, which leads a session: takes the terminal, if there is one.
    pub fn take_terminal(&self) -> Result<()> {
        if matches!(self, Streams::Terminal(..)) { pty::take() } else { Ok(()) }
    }
}
