//! The name server of one container: udp(7), tcp(7), network_namespaces(7).
//!
//! A socket stays in the network namespace that it was made in. These are made in the container's, where nobody else
//! can ask or answer; the process that has them is the host's, and asks the host's name servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use log::debug;

use crate::answers::{self, Reply};
use crate::upstream::{self, LONGEST};

/// Where it is, in the container. All of 127.0.0.0/8 is the container's own, and this is where Docker's is.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// More than this fits in no answer by UDP, unless both sides have agreed.
const LONGEST_BY_UDP: usize = 512;

/// A name server that listens.
#[derive(Debug)]
pub struct Resolver {
    udp: UdpSocket,
    tcp: TcpListener,
    knows: Knows,
}

/// Who is known, and who is asked for the rest.
#[derive(Debug, Clone)]
struct Knows {
    /// Whose name server it is. Which networks it's on is looked up for each question: it may have been connected to one
    /// more.
    id: String,
    /// If it's not the host's name servers.
    others: Vec<IpAddr>,
}

impl Resolver {
    /// Makes the sockets. Call it in the container's network namespace, where `lo` is up.
    pub fn listen(id: &str, others: &[IpAddr]) -> Result<Resolver> {
        debug!("bind: {ADDRESS}, port 53, UDP and TCP");
        let listening = || format!("listening at {ADDRESS}, port 53");
        Ok(Resolver {
            udp: UdpSocket::bind((ADDRESS, 53)).with_context(listening)?,
            tcp: TcpListener::bind((ADDRESS, 53)).with_context(listening)?,
            knows: Knows { id: id.to_string(), others: others.to_vec() },
        })
    }

    /// What it needs to stay open.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.udp.as_raw_fd(), self.tcp.as_raw_fd()]
    }

    /// Starts the threads that serve.
    pub fn serve(self) -> Result<()> {
        let (udp, tcp, knows) = (Arc::new(self.udp), self.tcp, Arc::new(self.knows));
        let the_same = Arc::clone(&knows);
        let starting = "starting a thread";
        thread::Builder::new().spawn(move || serve_by_udp(&udp, &knows)).context(starting)?;
        thread::Builder::new().spawn(move || serve_by_tcp(&tcp, &the_same)).context(starting)?;
        Ok(())
    }
}

/// What we know is answered here. For the rest there's a thread for each question: somebody slow keeps nobody waiting.
fn serve_by_udp(socket: &Arc<UdpSocket>, knows: &Arc<Knows>) {
    static PLACES: Places = Places::new(100);
    let mut packet = [0; LONGEST];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut packet) else {
            thread::sleep(Duration::from_millis(100)); // without memory: a question less
            continue;
        };
        let question = &packet[..length];
        match answers::answer(question, LONGEST_BY_UDP, &knows.id) {
            // Who isn't reached any more has gone, or asks again.
            Reply::Ours(answer) => drop(socket.send_to(&answer, client)),
            Reply::Others => {
                let (socket, knows, question) = (Arc::clone(socket), Arc::clone(knows), question.to_vec());
                PLACES.take(move || {
                    let answer = upstream::by_udp(&upstream::servers(&knows.others), &question);
                    let answer = answer.unwrap_or_else(|| answers::failed(&question));
                    let _ = socket.send_to(&answer, client); // as above
                });
            }
            Reply::None => {}
        }
    }
}

fn serve_by_tcp(listener: &TcpListener, knows: &Arc<Knows>) {
    static PLACES: Places = Places::new(100);
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                let knows = Arc::clone(knows);
                PLACES.take(move || drop(talk(client, &knows))); // it ends when the client has gone
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// One question after the other.
fn talk(mut client: TcpStream, knows: &Knows) -> io::Result<()> {
    const SILENCE: Option<Duration> = Some(Duration::from_secs(10));
    client.set_read_timeout(SILENCE)?;
    client.set_write_timeout(SILENCE)?;
    loop {
        let question = upstream::receive(&mut client)?;
        let answer = match answers::answer(&question, LONGEST, &knows.id) {
            Reply::Ours(answer) => answer,
            Reply::Others => {
                let answer = upstream::by_tcp(&upstream::servers(&knows.others), &question);
                answer.unwrap_or_else(|| answers::failed(&question))
            }
            Reply::None => return Ok(()),
        };
        upstream::send(&mut client, &answer)?;
    }
}

/// So many threads at once, and no more: what a container that floods its name server asks beyond that, nobody answers.
struct Places {
    taken: AtomicUsize,
    all: usize,
}

impl Places {
    const fn new(all: usize) -> Places {
        Places { taken: AtomicUsize::new(0), all }
    }

    /// Does the work in a thread if there's a place. If not, nobody does it.
    fn take(&'static self, work: impl FnOnce() + Send + 'static) {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.all {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let place = Place(self);
        let worked = move || {
            let _place = place;
            work();
        };
        // If no thread starts, the work is dropped with its place.
        let _ = thread::Builder::new().spawn(worked);
    }
}

/// Dropped, it's free.
struct Place(&'static Places);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
