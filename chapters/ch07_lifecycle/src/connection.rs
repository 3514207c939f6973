//! A client's end of the socket: wishes that wait to be sent, and the keeper's news. send(2), recv(2), poll(2).

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::wire::{self, Done, News, Wish};

/// A connection to a keeper.
#[derive(Debug)]
pub struct Connection<'a> {
    socket: &'a OwnedFd,
    to_send: VecDeque<Vec<u8>>,
}

impl Connection<'_> {
    /// Over this socket.
    pub fn new(socket: &OwnedFd) -> Connection<'_> {
        Connection { socket, to_send: VecDeque::new() }
    }

    /// Has something to say. It's sent when there is room.
    pub fn wish(&mut self, wish: &Wish) {
        self.to_send.push_back(wish.to_bytes());
    }

    /// Whether something waits to be sent.
    pub fn is_behind(&self) -> bool {
        !self.to_send.is_empty()
    }

    /// Sends what there is room for.
    pub fn send(&mut self) -> Result<()> {
        while let Some(message) = self.to_send.front() {
            match wire::try_send(self.socket.as_fd(), message)? {
                Done::Yes(()) => drop(self.to_send.pop_front()),
                Done::NotNow => break,
                Done::Gone => self.to_send.clear(), // the next thing that is heard is the end
            }
        }
        Ok(())
    }

    /// Waits until all is sent.
    pub fn send_all(&mut self) -> Result<()> {
        while !self.to_send.is_empty() {
            self.send()?;
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                polled => drop(polled.context("waiting for the keeper")?),
            }
        }
        Ok(())
    }

    /// The next news, if there is some.
    pub fn hear(&self) -> Result<Option<News>> {
        match wire::try_receive(self.socket.as_fd())? {
            Done::Yes(message) => News::from_bytes(&message).map(Some),
            Done::NotNow => Ok(None),
            Done::Gone => bail!("the container's keeper was killed, and the container with it"),
        }
    }
}

impl AsFd for Connection<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
