//! Somebody whom the host asks for names: a server of the check's own, at an address of its own network.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::dns::{A, Message, answer, read_message, with_length};
use crate::machine::mounts::bind;
use crate::see::cannot_run;
use crate::trial::runtime::Lab;

/// What the server hears.
pub(super) struct Asked<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) name: &'a str,
    pub(super) by_tcp: bool,
}

impl Asked<'_> {
    /// The answer that the name has this address.
    pub(super) fn has(&self, address: [u8; 4]) -> Vec<u8> {
        answer(self.bytes, 0, &[(A, address.to_vec())])
    }
}

/// What it says then: each of these, in this order.
type Says = fn(&Asked<'_>) -> Vec<Vec<u8>>;

/// One address for each name.
pub(super) fn usual(asked: &Asked<'_>) -> Vec<Vec<u8>> {
    vec![asked.has([10, 1, 1, 1])]
}

/// What a thread does with a question. Whether it came by TCP is the second one.
type Say<'a> = &'a dyn Fn(&[u8], bool) -> Vec<Vec<u8>>;

/// A server. Dropped, it's gone.
pub(super) struct Upstream {
    heard: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How often each looks whether it's the end.
const TURN: Duration = Duration::from_millis(20);

impl Upstream {
    /// Answers at port 53 of the address, by UDP and TCP.
    pub(super) fn at(address: &str, says: Says) -> Result<Upstream> {
        let socket = UdpSocket::bind((address, 53)).context("waiting for questions by UDP")?;
        socket.set_read_timeout(Some(TURN))?;
        let listener = TcpListener::bind((address, 53)).context("waiting for questions by TCP")?;
        listener.set_nonblocking(true)?;
        let (heard, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let mut upstream = Upstream { heard, ends, threads: Vec::new() };
        upstream.spawn(says, move |say| {
            let mut bytes = [0; 65536];
            if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                for datagram in say(&bytes[..length], false) {
                    let _ = socket.send_to(&datagram, from); // whoever has gone hears nothing
                }
            }
        });
        upstream.spawn(says, move |say| match listener.accept() {
            Ok((stream, _)) => drop(serve(stream, say)), // as above
            Err(_) => thread::sleep(TURN),
        });
        Ok(upstream)
    }

    /// A thread that takes one turn after the other.
    fn spawn(&mut self, says: Says, turn: impl Fn(Say<'_>) + Send + 'static) {
        let (heard, ends) = (Arc::clone(&self.heard), Arc::clone(&self.ends));
        let say = move |bytes: &[u8], by_tcp: bool| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(message) = Message::of(bytes) else {
                heard.push("what is no question".to_string());
                return Vec::new();
            };
            let how = if by_tcp { " by TCP" } else { "" };
            heard.push(format!("{}{how}", message.name.to_lowercase()));
            says(&Asked { bytes, name: &message.name.to_lowercase(), by_tcp })
        };
        self.threads.push(thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                turn(&say);
            }
        }));
    }

    /// The names that it was asked for.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One question of a connection.
fn serve(mut stream: TcpStream, say: Say<'_>) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let question = read_message(&mut stream)?;
    say(&question, true).iter().try_for_each(|message| Ok(stream.write_all(&with_length(message))?))
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // its panic would have been printed
        }
    }
}

/// A resolv.conf that leads to a server of the check's.
pub(super) const HOME: &str = "nameserver 127.0.0.1\n";

/// The host gets a resolv.conf of its own, which says this. Returns the file: what is written there, the host has.
pub(super) fn host_has(lab: &Lab, text: &str) -> Result<PathBuf> {
    let place = Path::new("/etc/resolv.conf");
    if !place.exists() {
        return Err(cannot_run("there is no /etc/resolv.conf to cover"));
    }
    let file = lab.path("resolv.conf");
    fs::write(&file, text).context("writing a resolv.conf")?;
    bind(&file, place)?;
    lab.arranged()?;
    Ok(file)
}
