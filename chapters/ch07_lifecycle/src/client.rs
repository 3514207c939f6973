//! A client's side: what is typed goes in, what is printed comes out, signals go on. poll(2), signalfd(2), termios(3).
//!
//! This is the process in the caller's job. It may be stopped, or be slow, and the keeper doesn't mind.

use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use ch01_run::messages;
use ch01_run::signals::{HeldSignals, Stopped};
use ch06_init::raw::{self, CallersModes};
use ch06_init::{pty, worker};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::tcgetpgrp;

use crate::connection::Connection;
use crate::keys::Keys;
use crate::screen::Screen;
use crate::wire::{News, Wish};

/// The signals that a client hears of. Those that people send to end a program go on to the container.
const HELD: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGCHLD,
];

/// What a client has to do with the container.
#[derive(Debug)]
pub struct Wants {
    /// To type.
    pub keys: bool,
    /// The container has a terminal.
    pub terminal: bool,
    /// To wait for the start only.
    pub start_only: bool,
    /// The container runs already.
    pub is_there: bool,
}

/// One who stays with a container.
struct Client<'a> {
    keeper: Connection<'a>,
    wants: &'a Wants,
    held: &'a HeldSignals,
    signals: SignalFd,
    /// Those of the caller's terminal, if it is raw while we are here.
    modes: Option<CallersModes>,
    is_raw: bool,
    /// The command runs. What is typed before waits where it was typed.
    has_started: bool,
    keys: Keys,
    screen: Screen,
}

/// How it went on.
enum Next {
    On,
    /// We have seen enough, and the container goes on.
    Left,
    Ended(u8),
}

/// Stays with the container until its end, and returns its exit status; or `None` if the client leaves before. A signal
/// that people send to end a program is passed on, by `pass_on`.
pub fn follow(
    socket: &OwnedFd,
    wants: &Wants,
    held: &HeldSignals,
    pass_on: &dyn Fn(Signal) -> Result<()>,
) -> Result<Option<u8>> {
    let signals = worker::signals_as_file(&HELD)?;
    let modes = if wants.keys && wants.terminal { CallersModes::of_stdin()? } else { None };
    let mut client = Client {
        keeper: Connection::new(socket),
        wants,
        held,
        signals,
        modes,
        is_raw: false,
        has_started: false,
        keys: Keys::new(wants.keys),
        screen: Screen::of_caller(),
    };
    if !wants.start_only {
        client.keeper.wish(&Wish::Output);
        client.tell_size();
    }
    if wants.is_there {
        client.has_started = true;
        client.make_raw()?;
    }
    loop {
        match client.step(pass_on)? {
            Next::On => {}
            Next::Left => return Ok(None),
            Next::Ended(status) => return Ok(Some(status)),
        }
    }
}

impl Client<'_> {
    /// Waits until something can be done, and does it.
    fn step(&mut self, pass_on: &dyn Fn(Signal) -> Result<()>) -> Result<Next> {
        let [signal, socket, keys, print] = self.wait()?;
        if !signal.is_empty() {
            self.heed_signal(pass_on)?;
        }
        if !print.is_empty() {
            self.print()?;
        }
        if socket.contains(PollFlags::POLLOUT) {
            self.keeper.send()?;
        }
        if !keys.is_empty() && self.read_keys()? {
            return Ok(Next::Left);
        }
        if socket.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) && self.screen.waits_for().is_none() {
            return self.hear(pass_on);
        }
        Ok(Next::On)
    }

    fn wait(&self) -> Result<[PollFlags; 4]> {
        let (stdin, printing) = (stdin(), self.screen.waits_for());
        let mut talk = PollFlags::empty();
        talk.set(PollFlags::POLLIN, printing.is_none());
        talk.set(PollFlags::POLLOUT, self.keeper.is_behind());
        let types = self.keys.may_come() && self.has_started && !self.keeper.is_behind();
        // One that isn't asked for stays out, for its hang-up would be told again and again.
        let asked = [
            Some((self.signals.as_fd(), PollFlags::POLLIN)),
            (!talk.is_empty()).then(|| (self.keeper.as_fd(), talk)),
            types.then(|| (stdin.as_fd(), PollFlags::POLLIN)),
            printing.map(|fd| (fd, PollFlags::POLLOUT)),
        ];
        let mut fds: Vec<_> = asked.iter().flatten().map(|(fd, events)| PollFd::new(*fd, *events)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok([PollFlags::empty(); 4]),
            polled => polled.context("waiting for the keeper")?,
        };
        let mut seen = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(asked.map(|asked| asked.and_then(|_| seen.next()).unwrap_or(PollFlags::empty())))
    }

    fn heed_signal(&mut self, pass_on: &dyn Fn(Signal) -> Result<()>) -> Result<()> {
        let Some(info) = self.signals.read_signal().context("reading a signal")? else { return Ok(()) };
        match Signal::try_from(info.ssi_signo as i32)? {
            Signal::SIGCHLD => Ok(()), // of the keeper's end the socket tells
            Signal::SIGWINCH => {
                self.tell_size();
                Ok(())
            }
            Signal::SIGTSTP => {
                if let Some(modes) = self.modes.as_ref().filter(|_| self.is_raw) {
                    modes.restore();
                }
                self.held.stop(Stopped::Process, Signal::SIGSTOP)?;
                self.go_on()
            }
            Signal::SIGCONT => self.go_on(), // we were stopped, and the terminal was the shell's meanwhile
            signal => {
                if !self.has_started {
                    self.type_nothing(); // it ends the start
                }
                pass_on(signal)
            }
        }
    }

    fn go_on(&mut self) -> Result<()> {
        self.tell_size();
        if self.is_raw {
            self.make_raw()?;
        }
        self.wait_for_keys();
        Ok(())
    }

    fn type_nothing(&mut self) {
        self.keys.end();
        self.modes = None;
    }

    /// A job in the background stops as soon as it reads from its terminal. So does this one when it would, and not only
    /// when somebody types: what is typed then is for others. Where no shell could bring it to the front, nothing will be
    /// typed.
    fn wait_for_keys(&mut self) {
        let is_job = self.keys.may_come() && self.has_started && tcgetpgrp(stdin()).is_ok();
        if is_job && raw::wait_for_foreground(self.held).is_err() {
            self.keys.end();
            self.keeper.wish(&Wish::EndOfKeys);
        }
    }

    fn make_raw(&mut self) -> Result<()> {
        if let Some(modes) = &self.modes {
            self.is_raw = true;
            modes.make_raw(self.held)?;
        }
        Ok(())
    }

    fn tell_size(&mut self) {
        if self.wants.terminal
            && let Some(size) = pty::callers_size()
        {
            self.keeper.wish(&Wish::Size(size));
        }
    }

    /// Tells the keeper what is typed. Returns whether it was the wish to leave.
    fn read_keys(&mut self) -> Result<bool> {
        let wishes = self.keys.read(self.is_raw)?;
        wishes.iter().for_each(|wish| self.keeper.wish(wish));
        let leaves = matches!(wishes.last(), Some(Wish::Leave));
        if leaves {
            self.keeper.send_all()?;
        }
        Ok(leaves)
    }

    fn print(&mut self) -> Result<()> {
        if let Some(stream) = self.screen.print()? {
            self.keeper.wish(&Wish::Deaf(stream));
        }
        Ok(())
    }

    /// Takes one message of the keeper's.
    fn hear(&mut self, pass_on: &dyn Fn(Signal) -> Result<()>) -> Result<Next> {
        match self.keeper.hear()? {
            None => {}
            Some(News::Ready) => {
                // What came before this goes first: the child that it ends never becomes the command.
                while let Some(signal) = self.held.next_to_pass_on()? {
                    pass_on(signal)?;
                    self.type_nothing();
                }
                self.keeper.wish(&Wish::Go);
                self.keeper.send()?;
            }
            Some(News::Started) if self.wants.start_only => return Ok(Next::Left),
            Some(News::Started) => {
                self.has_started = true;
                self.make_raw()?;
                self.wait_for_keys();
            }
            Some(News::Printed(stream, bytes)) => self.screen.take(stream, bytes),
            // It runs on without its terminal: until it is started again, keys reach nobody, and Ctrl-C is a signal.
            Some(News::HungUp) => {
                (self.has_started, self.is_raw) = (false, false);
                self.modes.iter().for_each(CallersModes::restore);
            }
            Some(News::Ended(status, line)) => {
                if !line.is_empty() {
                    drop(self.modes.take()); // so that the line is printed as lines are
                    messages::say(&line);
                }
                return Ok(Next::Ended(status));
            }
        }
        Ok(Next::On)
    }
}
