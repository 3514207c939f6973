//! Those who are connected to a keeper, and what waits to be sent to them: poll(2).
//!
//! One of them may hold the leash: the container is this client's, waits for it, and dies with it. The others only look.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use log::debug;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;

use crate::door;
use crate::sources::{Asked, Source};
use crate::wire::{self, Done, News, Wish};

/// How many messages may wait for one who is slow. Only for the one whose container it is, the container waits.
const MOST_WAITING: usize = 64;

/// One who is connected.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    waiting: VecDeque<Rc<[u8]>>,
    wants_output: bool,
    /// The container is this client's: it dies with it.
    pub holds_leash: bool,
    /// This client is told of the start.
    pub waits_for_start: bool,
    gone: bool,
}

impl Client {
    /// At this end of a socket.
    pub fn new(socket: OwnedFd) -> Client {
        let waiting = VecDeque::new();
        Client {
            socket,
            waiting,
            wants_output: false,
            holds_leash: false,
            waits_for_start: false,
            gone: false,
        }
    }

    /// What it wishes, if it does. Its end is remembered.
    pub fn wish(&mut self) -> Result<Option<Wish>> {
        match wire::try_receive(self.socket.as_fd())? {
            Done::Yes(message) => {
                let wish = Wish::from_bytes(&message)?;
                self.wants_output |= matches!(wish, Wish::Output);
                Ok(Some(wish))
            }
            Done::NotNow => Ok(None),
            Done::Gone => {
                self.gone = true;
                Ok(None)
            }
        }
    }

    /// Whether it has left.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether something waits to be sent.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty() && !self.gone
    }

    /// Tells it something, now or when there is room.
    pub fn tell(&mut self, message: Rc<[u8]>) -> Result<()> {
        self.waiting.push_back(message);
        self.send_waiting()?;
        if self.waiting.len() > MOST_WAITING && !self.holds_leash {
            debug!("a client is too slow, and is sent away");
            self.gone = true;
        }
        Ok(())
    }

    /// Sends what there is room for.
    pub fn send_waiting(&mut self) -> Result<()> {
        while let Some(message) = self.waiting.front().filter(|_| !self.gone) {
            match wire::try_send(self.socket.as_fd(), message)? {
                Done::Yes(()) => drop(self.waiting.pop_front()),
                Done::NotNow => break,
                // Nothing more can be told. What it said last is still to be heard: it may have been "go on without me".
                Done::Gone => {
                    self.waiting.clear();
                    self.wants_output = false;
                    break;
                }
            }
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All of them.
#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
}

impl Clients {
    /// The first of them.
    pub fn of(first: Client) -> Clients {
        Clients { all: vec![first] }
    }

    /// Lets in whoever is at the door.
    pub fn accept(&mut self, door: &OwnedFd) -> Result<()> {
        self.all.extend(door::accept(door)?.map(Client::new));
        Ok(())
    }

    /// Lets the client that waits for the start pass on what it has got so far, before the gate is opened. Its terminal may
    /// have changed its size, too.
    pub fn wait_for_go(&mut self, resize: impl Fn(&Winsize) -> Result<()>) -> Result<()> {
        let Some(client) = self.all.iter_mut().find(|client| client.waits_for_start) else { return Ok(()) };
        client.tell(News::Ready.to_bytes().into())?;
        loop {
            let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                polled => polled.context("waiting for the client")?,
            };
            match client.wish()? {
                Some(Wish::Go) => return Ok(()),
                Some(Wish::Size(size)) => resize(&size)?,
                _ if client.is_gone() => bail!("the client has left"),
                _ => {}
            }
        }
    }

    /// Whether one of them holds the leash.
    pub fn has_leash(&self) -> bool {
        self.all.iter().any(|client| client.holds_leash)
    }

    /// Whether the client that the container belongs to has left.
    pub fn is_abandoned(&self) -> bool {
        self.all.iter().any(|client| client.holds_leash && client.is_gone())
    }

    /// Whether the client that the container belongs to has to be waited for.
    pub fn is_held_up(&self) -> bool {
        self.all.iter().any(|client| client.holds_leash && client.is_behind())
    }

    /// What to wait for. Without `keys`, nobody is asked for what is typed.
    pub fn sources(&self, keys: bool) -> Vec<Asked<'_>> {
        let mut asked = Vec::new();
        for (at, client) in self.all.iter().enumerate().filter(|(_, client)| !client.is_gone()) {
            let mut events = if keys { PollFlags::POLLIN } else { PollFlags::empty() };
            events.set(PollFlags::POLLOUT, client.is_behind());
            if keys || client.is_behind() || client.holds_leash {
                asked.push((Source::Client(at), client.as_fd(), events));
            }
        }
        asked
    }

    /// Tells one of them what waits, and hears what it wishes. One that talks nonsense has said nothing; and that there is
    /// no more to come, or nobody who reads, is for the one with the leash to say.
    pub fn attend(&mut self, at: usize, events: PollFlags) -> Result<Option<Wish>> {
        let client = &mut self.all[at];
        if events.contains(PollFlags::POLLOUT) {
            client.send_waiting()?;
        }
        if !events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
            return Ok(None);
        }
        let wish = client.wish().unwrap_or_else(|error| {
            debug!("{error:#}");
            None
        });
        let leash = client.holds_leash;
        Ok(wish.filter(|wish| leash || !matches!(wish, Wish::EndOfKeys | Wish::Deaf(_))))
    }

    /// The container is this client's no longer.
    pub fn let_go(&mut self, at: usize) {
        self.all[at].holds_leash = false;
    }

    /// Tells all of them; what was printed only those who asked for it.
    pub fn tell(&mut self, news: &News) -> Result<()> {
        let message: Rc<[u8]> = news.to_bytes().into();
        let is_output = matches!(news, News::Printed(..));
        for client in self.all.iter_mut().filter(|client| client.wants_output || !is_output) {
            client.tell(Rc::clone(&message))?;
        }
        Ok(())
    }

    /// Tells them that the command runs. Nobody waits for that then.
    pub fn tell_start(&mut self) -> Result<()> {
        self.all.iter_mut().for_each(|client| client.waits_for_start = false);
        self.tell(&News::Started)
    }

    /// One whose container it is is remembered, for it must not be started again.
    pub fn forget_who_left(&mut self) {
        self.all.retain(|client| !client.is_gone() || client.holds_leash);
    }

    /// Sends what still waits to be sent. The one whose container it was may take its time; others a moment.
    pub fn say_the_rest(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            self.all.retain(|client| client.is_behind() && (client.holds_leash || Instant::now() < end));
            if self.all.is_empty() {
                return Ok(());
            }
            let limit = if self.has_leash() { PollTimeout::NONE } else { PollTimeout::from(100u16) };
            let mut fds: Vec<_> =
                self.all.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLOUT)).collect();
            match poll(&mut fds, limit) {
                Err(Errno::EINTR) => continue,
                polled => polled.context("waiting for clients")?,
            };
            self.all.iter_mut().try_for_each(Client::send_waiting)?;
        }
    }
}
