//! What a keeper and its clients say to each other: unix(7), SOCK_SEQPACKET.
//!
//! Such a socket keeps messages apart, in their order, and tells when the other side is gone. The first byte says what a
//! message is.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::pty::Winsize;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::log_line::Stream;

/// The most bytes of input or output in one message.
pub const PIECE: usize = 16384;

/// What a client asks for.
#[derive(Debug)]
pub enum Wish {
    /// Open the gate: whatever was to be passed on before has been.
    Go,
    /// Send what is printed from now on.
    Output,
    /// Give these keys to the container.
    Keys(Vec<u8>),
    /// There won't be any more.
    EndOfKeys,
    /// The terminal has this size.
    Size(Winsize),
    /// Nobody reads this stream any more.
    Deaf(Stream),
    /// The container is to go on when this client leaves.
    Leave,
}

/// What a keeper tells.
#[derive(Debug)]
pub enum News {
    /// The container waits at its gate.
    Ready,
    /// The command runs.
    Started,
    /// It has printed this.
    Printed(Stream, Vec<u8>),
    /// Nobody in it has its terminal open any more.
    HungUp,
    /// It has ended with this status, or was never started; then a line says why.
    Ended(u8, String),
}

/// Two connected sockets.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .context("making sockets for the keeper and its client")
}

impl Wish {
    /// As a message.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Wish::Go => b"g".to_vec(),
            Wish::Output => b"o".to_vec(),
            Wish::Keys(keys) => [b"k", keys.as_slice()].concat(),
            Wish::EndOfKeys => b"e".to_vec(),
            Wish::Size(size) => {
                [b"s".as_slice(), &size.ws_row.to_ne_bytes(), &size.ws_col.to_ne_bytes()].concat()
            }
            Wish::Deaf(stream) => vec![b'd', *stream as u8],
            Wish::Leave => b"l".to_vec(),
        }
    }

    /// From a message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Wish> {
        Ok(match bytes {
            b"g" => Wish::Go,
            b"o" => Wish::Output,
            [b'k', keys @ ..] => Wish::Keys(keys.to_vec()),
            b"e" => Wish::EndOfKeys,
            [b's', a, b, c, d] => Wish::Size(Winsize {
                ws_row: u16::from_ne_bytes([*a, *b]),
                ws_col: u16::from_ne_bytes([*c, *d]),
                ws_xpixel: 0,
                ws_ypixel: 0,
            }),
            [b'd', stream] => Wish::Deaf(stream_of(*stream)),
            b"l" => Wish::Leave,
            _ => bail!("a client sent what no keeper knows"),
        })
    }
}

impl News {
    /// As a message.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            News::Ready => b"r".to_vec(),
            News::Started => b"s".to_vec(),
            News::Printed(stream, bytes) => [&[b'p', *stream as u8], bytes.as_slice()].concat(),
            News::HungUp => b"h".to_vec(),
            News::Ended(status, line) => [&[b'e', *status], line.as_bytes()].concat(),
        }
    }

    /// From a message.
    pub fn from_bytes(bytes: &[u8]) -> Result<News> {
        Ok(match bytes {
            b"r" => News::Ready,
            b"s" => News::Started,
            [b'p', stream, bytes @ ..] => News::Printed(stream_of(*stream), bytes.to_vec()),
            b"h" => News::HungUp,
            [b'e', status, line @ ..] => News::Ended(*status, String::from_utf8_lossy(line).into_owned()),
            _ => bail!("the keeper sent what no client knows"),
        })
    }
}

fn stream_of(byte: u8) -> Stream {
    if byte == Stream::Stderr as u8 { Stream::Stderr } else { Stream::Stdout }
}

/// What could be done at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Done<T> {
    /// It is done.
    Yes(T),
    /// Not now: poll(2) tells when.
    NotNow,
    /// The other side is gone.
    Gone,
}

/// Sends a message, unless there is no room for it.
pub fn try_send(socket: BorrowedFd<'_>, message: &[u8]) -> Result<Done<()>> {
    // Who reads may be gone: that is no reason for a SIGPIPE.
    match send(socket.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(_) => Ok(Done::Yes(())),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNRESET) => Ok(Done::NotNow),
        Err(Errno::EPIPE) => Ok(Done::Gone),
        Err(errno) => Err(errno).context("sending a message"),
    }
}

/// Receives a message, if there is one.
pub fn try_receive(socket: BorrowedFd<'_>) -> Result<Done<Vec<u8>>> {
    receive_with(socket, MsgFlags::MSG_DONTWAIT)
}

/// Waits for a message. `None` if the other side is gone.
pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    loop {
        match receive_with(socket, MsgFlags::empty())? {
            Done::Yes(message) => return Ok(Some(message)),
            Done::Gone => return Ok(None),
            Done::NotNow => {}
        }
    }
}

fn receive_with(socket: BorrowedFd<'_>, flags: MsgFlags) -> Result<Done<Vec<u8>>> {
    let mut bytes = vec![0; PIECE + 64];
    match recv(socket.as_raw_fd(), &mut bytes, flags) {
        Ok(0) => Ok(Done::Gone), // no message is empty
        Ok(length) => {
            bytes.truncate(length);
            Ok(Done::Yes(bytes))
        }
        // The last of these: the other side is gone without having heard all, and that is told once. What it said before
        // is still to be received.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNRESET) => Ok(Done::NotNow),
        Err(errno) => Err(errno).context("receiving a message"),
    }
}
