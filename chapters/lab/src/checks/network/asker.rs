//! Whoever asks inside of a container, there where its command would: its sockets are made in its network namespace.

use std::fs::File;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::dns::{A, Message, NOERROR, NXDOMAIN, PTR, Record, question, read_message, with_length};
use crate::machine::process::Process;
use crate::see::{SOON, differs, wait_for};
use crate::trial::kept::Kept;

/// Where a container asks.
pub(super) const RESOLVER: &str = "127.0.0.11:53";

/// What an answer that takes longer is: none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does something in the network of a process. A socket that is made there stays there.
pub(crate) fn inside<T: Send>(place: Process, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let network = File::open(place.file("ns/net")).context("opening the container's network namespace")?;
    within(&network, work)
}

/// The same in this network.
pub(crate) fn within<T: Send>(network: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let there = || {
        setns(network, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
        work()
    };
    thread::scope(|scope| scope.spawn(there).join()).map_err(|_| anyhow!("a thread panicked"))?
}

/// A socket to whoever answers at an address.
pub(super) fn udp_to(address: &str, patience: Duration) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("making a socket")?;
    socket.connect(address).with_context(|| format!("connecting to {address}"))?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}

/// Whoever asks inside of a container, there where its command would.
pub(crate) struct Asker {
    line: String,
    place: Process,
    pub(super) socket: UdpSocket,
}

impl Asker {
    pub(super) fn of(one: &Kept<'_>) -> Result<Asker> {
        Asker::beside(one.process()?, one.line())
    }

    /// Whoever asks in the network of a process, which this line has started.
    pub(crate) fn beside(place: Process, line: &str) -> Result<Asker> {
        let socket = inside(place, || udp_to(RESOLVER, PATIENCE))?;
        Ok(Asker { line: line.to_string(), place, socket })
    }

    /// What one can do by hand, in the container's network.
    fn did(&self, name: &str, kind: u16) -> String {
        let kind = if [A, PTR].contains(&kind) { String::new() } else { format!("-t TYPE{kind} ") };
        let place = self.place.file("ns/net");
        format!("{}; then: nsenter --net={} dig {kind}{name} @127.0.0.11", self.line, place.display())
    }

    /// Sends a question. Its id is another one each time.
    pub(super) fn sends(&self, name: &str, kind: u16) -> Result<u16> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let sent = self.socket.send(&question(id, name, kind));
        sent.map_err(|error| differs(self.did(name, kind), "somebody at 127.0.0.11", error))?;
        Ok(id)
    }

    /// Asks by UDP. The answer has to come.
    pub(super) fn asks(&self, name: &str, kind: u16) -> Result<Message> {
        let (id, end) = (self.sends(name, kind)?, Instant::now() + PATIENCE);
        let mut bytes = [0; 65536];
        let none = |error| differs(self.did(name, kind), format!("an answer within {PATIENCE:?}"), error);
        // Those to earlier questions may come yet.
        while Instant::now() < end {
            let length = self.socket.recv(&mut bytes).map_err(|error| none(error.to_string()))?;
            if bytes[..length].starts_with(&id.to_be_bytes()) {
                return self.fits(id, name, kind, &bytes[..length]);
            }
        }
        Err(none("others only".to_string()))
    }

    /// An answer to this, and to nothing else.
    fn fits(&self, id: u16, name: &str, kind: u16, bytes: &[u8]) -> Result<Message> {
        let is_it = |message: &Message| {
            message.id == id && message.is_answer && message.name.eq_ignore_ascii_case(name)
        };
        match Message::of(bytes) {
            Ok(message) if is_it(&message) => Ok(message),
            other => Err(differs(self.did(name, kind), "an answer to the question", format!("{other:?}"))),
        }
    }

    /// A connection to the same place.
    pub(super) fn connects(&self) -> Result<TcpStream> {
        let stream = inside(self.place, || Ok(TcpStream::connect(RESOLVER)?));
        let stream = stream
            .map_err(|error| differs(self.did("+tcp .", A), "somebody at 127.0.0.11, by TCP", error))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Asks by TCP. Returns the answer's bytes, too.
    pub(super) fn asks_by_tcp(&self, name: &str, kind: u16) -> Result<(Message, Vec<u8>)> {
        const ID: u16 = 4711;
        let mut stream = self.connects()?;
        stream.write_all(&with_length(&question(ID, name, kind)))?;
        let bytes = read_message(&mut stream)
            .map_err(|error| differs(self.did(&format!("+tcp {name}"), kind), "an answer by TCP", error))?;
        Ok((self.fits(ID, name, kind, &bytes)?, bytes))
    }

    /// Fails unless the answer has this code and these data.
    pub(super) fn hears(&self, name: &str, kind: u16, code: u8, data: &[&str]) -> Result<()> {
        let answer = self.asks(name, kind)?;
        let mut heard: Vec<_> = answer.records.iter().map(|record| record.data.as_str()).collect();
        heard.sort_unstable();
        let mut expected = data.to_vec();
        expected.sort_unstable();
        let of_it = |record: &Record| record.kind == kind && record.name.eq_ignore_ascii_case(name);
        if answer.code == code && heard == expected && answer.records.iter().all(of_it) {
            return Ok(());
        }
        let what = format!("code {code} and, of type {kind}, {expected:?}");
        Err(differs(self.did(name, kind), what, format!("{answer:?}")))
    }

    /// Fails unless these are the name's addresses, and nobody's to remember them. Without any, there's no such name.
    pub(crate) fn finds(&self, name: &str, addresses: &[&str]) -> Result<()> {
        self.hears(name, A, if addresses.is_empty() { NXDOMAIN } else { NOERROR }, addresses)?;
        let kept = self.asks(name, A)?.records.into_iter().find(|record| record.ttl != 0);
        kept.map_or(Ok(()), |kept| Err(differs(self.did(name, A), "a TTL of 0", format!("{kept:?}"))))
    }

    /// The same, when what changes it has had a moment.
    pub(super) fn soon_finds(&self, name: &str, addresses: &[&str]) -> Result<()> {
        match wait_for(SOON, || Ok(self.finds(name, addresses).ok()))? {
            Some(()) => Ok(()),
            None => self.finds(name, addresses),
        }
    }
}
