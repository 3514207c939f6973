//! Requests to the kernel's network code, and its answers: netlink(7), rtnetlink(7).
//!
//! A message is a header, then a structure that belongs to its kind, then attributes. An attribute is a length, a
//! number and a value, and the value may be attributes again. Each begins at a multiple of four bytes.

use std::iter;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{
    NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Length, kind, flags, a sequence number, and who asks.
const HEADER: usize = 16;

/// Length and number.
const ATTRIBUTE_HEADER: usize = 4;

/// The kernel's longest message to us, a link with all that is known of it, is far shorter.
const LONGEST: usize = 32 * 1024;

/// A request in the making.
#[derive(Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A request of this kind, and the structure that belongs to it. The kernel will say whether it went well.
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Request {
        Request::begin(kind, NLM_F_ACK | flags, fixed)
    }

    /// One that gets no answer: a mark between others.
    pub fn mark(kind: u16, fixed: &[u8]) -> Request {
        Request::begin(kind, 0, fixed)
    }

    fn begin(kind: u16, flags: i32, fixed: &[u8]) -> Request {
        let flags = (NLM_F_REQUEST | flags) as u16;
        let mut bytes = vec![0; 4]; // the length, as soon as it's known
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]); // no number and no name: there is one question at a time
        bytes.extend(fixed);
        Request(bytes)
    }

    /// Adds an attribute.
    pub fn with(mut self, number: u16, value: &[u8]) -> Request {
        self.0.extend(((ATTRIBUTE_HEADER + value.len()) as u16).to_ne_bytes());
        self.0.extend(number.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute that is a text.
    pub fn with_text(self, number: u16, text: &str) -> Request {
        self.with(number, &[text.as_bytes(), b"\0"].concat())
    }

    /// Adds an attribute whose value is what `inside` adds.
    pub fn with_nested(mut self, number: u16, inside: impl FnOnce(Request) -> Request) -> Request {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((number | NLA_F_NESTED as u16).to_ne_bytes());
        let mut all = inside(self);
        let length = (all.0.len() - start) as u16;
        all.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        all
    }

    /// Adds bytes that are no attribute.
    pub fn with_bytes(mut self, bytes: &[u8]) -> Request {
        self.0.extend(bytes);
        self
    }

    /// The whole of it, now that its length is known.
    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// A line to the kernel. It stays in the network namespace that it was opened in, wherever its process goes.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one, for interfaces, addresses and routes, or for rules.
    pub fn open(protocol: SockProtocol) -> Result<Netlink> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol);
        Ok(Netlink(socket.context("opening a netlink socket")?))
    }

    /// Asks for something to be done. The kernel does it before it answers.
    pub fn change(&self, request: Request) -> Result<(), Errno> {
        self.send(&request.finish())?;
        self.receive().map(drop)
    }

    /// Asks for several things at once, between two marks, of which the kernel does all or none.
    pub fn change_all(&self, first: Request, requests: Vec<Request>, last: Request) -> Result<(), Errno> {
        let answers = requests.len();
        let all = [vec![first], requests, vec![last]].into_iter().flatten().map(Request::finish);
        self.send(&all.collect::<Vec<_>>().concat())?;
        (0..answers).try_for_each(|_| self.receive().map(drop))
    }

    /// Asks for one thing that is there. Returns what comes behind the header.
    pub fn look_up(&self, request: Request) -> Result<Vec<u8>, Errno> {
        self.send(&request.finish())?;
        let found = self.receive()?;
        self.receive()?; // that it's all
        Ok(found)
    }

    /// Asks for all things of a kind. Returns what comes behind the header of each.
    pub fn look_up_all(&self, request: Request) -> Result<Vec<Vec<u8>>, Errno> {
        let bytes = request.finish();
        let mut tries = 0;
        loop {
            self.send(&bytes)?;
            let (found, is_whole) = self.receive_all()?;
            tries += 1;
            if is_whole {
                return Ok(found);
            }
            if tries == 5 {
                return Err(Errno::EAGAIN);
            }
        }
    }

    /// All messages up to the one that says it's all, and whether they are: where things come and go while the kernel
    /// tells of them, one may be missing.
    fn receive_all(&self) -> Result<(Vec<Vec<u8>>, bool), Errno> {
        let (mut found, mut is_whole) = (Vec::new(), true);
        loop {
            // Several at once, as many as fit.
            let all = self.receive_bytes()?;
            let mut rest = &all[..];
            while let Some((message, behind)) = first_message(rest) {
                is_whole &= u16::from_ne_bytes([message[6], message[7]]) & NLM_F_DUMP_INTR as u16 == 0;
                match kind_of(message) {
                    NLMSG_DONE => return error_in(message).map(|()| (found, is_whole)),
                    NLMSG_ERROR => return Err(error_in(message).err().unwrap_or(Errno::EBADMSG)),
                    _ => found.push(message[HEADER..].to_vec()),
                }
                rest = behind;
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        send(self.0.as_raw_fd(), bytes, MsgFlags::empty()).map(drop)
    }

    /// One message, without its header. An error is a message, too.
    fn receive(&self) -> Result<Vec<u8>, Errno> {
        let bytes = self.receive_bytes()?;
        let (message, _) = first_message(&bytes).ok_or(Errno::EBADMSG)?;
        if kind_of(message) == NLMSG_ERROR {
            return error_in(message).map(|()| Vec::new());
        }
        Ok(message[HEADER..].to_vec())
    }

    fn receive_bytes(&self) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; LONGEST];
        let length = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The first message in these bytes, with its header, and what is behind it.
fn first_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn kind_of(message: &[u8]) -> i32 {
    i32::from(u16::from_ne_bytes([message[4], message[5]]))
}

/// What an error says. Number 0 says that all went well.
fn error_in(message: &[u8]) -> Result<(), Errno> {
    match message[HEADER..].first_chunk().map(|number| i32::from_ne_bytes(*number)) {
        Some(0) => Ok(()),
        Some(negative) => Err(Errno::from_raw(-negative)),
        None => Err(Errno::EBADMSG),
    }
}

impl From<Netlink> for OwnedFd {
    fn from(Netlink(socket): Netlink) -> OwnedFd {
        socket
    }
}

/// The attributes in these bytes: their numbers and their values.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    iter::from_fn(move || {
        let [first, second, third, fourth] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([first, second]));
        let number = u16::from_ne_bytes([third, fourth]) & NLA_TYPE_MASK as u16;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

/// The value of the first attribute of this number.
pub fn attribute(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == number).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_again() {
        let Request(bytes) = Request::new(1, 0, b"four")
            .with(7, b"five!")
            .with_nested(8, |inside| inside.with_text(9, "text"))
            .with(10, b"");
        let written = &bytes[HEADER + 4..];
        assert_eq!(written.len() % 4, 0);
        assert_eq!(attribute(written, 7), Some(&b"five!"[..]));
        assert_eq!(attribute(attribute(written, 8).unwrap(), 9), Some(&b"text\0"[..]));
        assert_eq!(attribute(written, 10), Some(&b""[..]));
        assert_eq!(attribute(written, 11), None);
    }

    #[test]
    fn what_is_cut_off_is_no_attribute() {
        let Request(bytes) = Request::new(1, 0, b"").with(7, b"four");
        for length in 0..8 {
            assert_eq!(attributes(&bytes[HEADER..HEADER + length]).count(), 0, "{length}");
        }
        // A length that leads nowhere must not go on for ever.
        assert_eq!(attributes(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[3, 0, 7, 0, 1, 1, 1, 1]).count(), 0);
    }
}
