//! What goes through a container's terminal: keys in, output out. poll(2), signalfd(2), ioctl_tty(2).
//!
//! This is the work of a process of its own, in the caller's job: it stops when the job does, and `run` goes on waiting
//! for its container undisturbed.

use std::fs::File;
use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use ch01_run::signals::HeldSignals;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::{read, write};

use crate::raw::CallersModes;
use crate::{pty, worker};

/// What a terminal takes as the end of the input: Ctrl-D. Twice, for in the middle of a line the first only hands that over.
const END_OF_INPUT: [u8; 2] = [4, 4];

/// How long the terminal may be silent, in milliseconds, after the container has ended, if somebody else keeps it open.
const LAST_WORDS: u16 = 100;

/// Waits for the container's terminal, then carries keys in, if there are to be some, and output out, until the terminal
/// has ended and all has arrived. `modes` are those of the caller's terminal, if it is to be raw.
pub fn carry(
    container: &UnixStream,
    keys: bool,
    modes: Option<&CallersModes>,
    held: &HeldSignals,
) -> Result<()> {
    let signals = worker::signals_as_file(&[Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGCHLD])?;
    let Some(terminal) = pty::receive(container)? else { return Ok(()) };
    // Keys that nobody reads must not keep us from carrying output, and so writing never waits.
    fcntl(&terminal, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("preparing the terminal")?;
    let raw = || modes.map_or(Ok(()), |modes| modes.make_raw(held));
    raw()?;
    let mut relay = Relay { terminal, keys, raw: modes.is_some(), pending: Vec::new(), ending: false };
    while relay.step(&signals, &raw)? {}
    Ok(())
}

struct Relay {
    /// The outer end of the container's terminal.
    terminal: File,
    /// Whether there can be more to read on stdin.
    keys: bool,
    /// Whether they come from a raw terminal, which has no end but a hang-up.
    raw: bool,
    /// What was read there, and the terminal has not taken yet.
    pending: Vec<u8>,
    /// Whether the container has ended.
    ending: bool,
}

impl Relay {
    /// Waits until something can be done, and does it. Returns whether there will be more.
    fn step(&mut self, signals: &SignalFd, raw: &impl Fn() -> Result<()>) -> Result<bool> {
        let [signal, keys, terminal] = self.wait(signals)?;
        if signal.is_empty() && keys.is_empty() && terminal.is_empty() {
            return Ok(false); // silence after the end
        }
        if !signal.is_empty() {
            self.take(signals, raw)?;
        }
        if !keys.is_empty() {
            self.read_keys()?;
        }
        if terminal.contains(PollFlags::POLLOUT) {
            self.write_keys()?;
        }
        if terminal.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
            return self.print();
        }
        Ok(true)
    }

    fn wait(&self, signals: &SignalFd) -> Result<[PollFlags; 3]> {
        // The next keys only when the terminal has taken the last ones: what is typed ahead waits in the caller's.
        let (typing, writing) = match self.pending.is_empty() {
            true => (self.keys, PollFlags::empty()),
            false => (false, PollFlags::POLLOUT),
        };
        let stdin = stdin();
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN | writing),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        // A descriptor that hangs up is always ready, so one that is not asked for must stay out.
        let asked = if typing { 3 } else { 2 };
        let limit = if self.ending { PollTimeout::from(LAST_WORDS) } else { PollTimeout::NONE };
        match poll(&mut fds[..asked], limit) {
            Err(Errno::EINTR) => return self.wait(signals),
            polled => polled.context("waiting for keys and output")?,
        };
        let seen = |at: usize| fds[at].revents().unwrap_or(PollFlags::empty());
        Ok([seen(0), seen(2), seen(1)])
    }

    fn take(&mut self, signals: &SignalFd, raw: &impl Fn() -> Result<()>) -> Result<()> {
        let Some(info) = signals.read_signal().context("reading a signal")? else { return Ok(()) };
        match Signal::try_from(info.ssi_signo as i32)? {
            Signal::SIGCHLD => self.ending = true,
            Signal::SIGCONT if !self.ending => raw()?, // we were stopped, and the terminal was the shell's meanwhile
            _ => {}
        }
        // It may have another size by now.
        pty::callers_size().map_or(Ok(()), |size| pty::resize(&self.terminal, &size))
    }

    fn read_keys(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        match read(stdin(), &mut bytes) {
            Ok(0) | Err(Errno::EIO) if self.raw => bail!("the terminal has hung up"),
            // A file has ended, or somebody's pipe: the container's terminal has other means to say so.
            Ok(0) => (self.keys, self.pending) = (false, END_OF_INPUT.to_vec()),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            read => self.pending.extend(&bytes[..read.context("reading what is typed")?]),
        }
        Ok(())
    }

    fn write_keys(&mut self) -> Result<()> {
        match write(&self.terminal, &self.pending) {
            Err(Errno::EINTR | Errno::EAGAIN | Errno::EIO) => {}
            written => drop(self.pending.drain(..written.context("typing into the container's terminal")?)),
        }
        Ok(())
    }

    /// Carries what the container has printed. Returns whether there can be more: a terminal whose inner end nobody has
    /// open any more says EIO, after all that was written there.
    fn print(&self) -> Result<bool> {
        let mut bytes = [0; 16384];
        match read(&self.terminal, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => Ok(false),
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(true),
            read => write_all(stdout().as_fd(), &bytes[..read.context("reading the container's terminal")?]),
        }
    }
}

/// Writes all of it, however long that takes. Returns whether somebody reads it still.
pub fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<bool> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => drop(poll(&mut [PollFd::new(to, PollFlags::POLLOUT)], PollTimeout::NONE)),
            Err(Errno::EIO | Errno::EPIPE) => return Ok(false),
            Err(errno) => return Err(errno).context("writing what the container prints"),
        }
    }
    Ok(true)
}
