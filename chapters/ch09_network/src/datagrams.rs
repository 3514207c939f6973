//! What comes to the host's UDP ports is handed on, too: udp(7), ipv6(7), recvmsg(2), sendmsg(2).
//!
//! A datagram belongs to no connection. So each client gets a socket of its own to the container, and what comes back
//! there is the client's. When nothing has come back for a while, it's closed.

use std::collections::HashMap;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};

/// The longest datagram.
const LONGEST: usize = 65_535;

/// So many clients of all ports at once, for each has a descriptor and a thread. What others send meanwhile is lost, as
/// datagrams may be.
const MOST: usize = 500;
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// How long a client is remembered that gets no answers, and how long when there are many.
const SILENCE: Duration = Duration::from_secs(90);
const SHORT_SILENCE: Duration = Duration::from_secs(5);

/// Somebody who has sent a datagram, and which of the host's addresses he has sent it to: from there he wants his
/// answer. That's not told of a socket that has one address only.
type Client = (SockaddrStorage, Option<[u8; 16]>);

/// The host's side of a port, the container's, and the clients between them.
struct Passage {
    socket: UdpSocket,
    inside: SocketAddr,
    clients: Mutex<HashMap<Client, Arc<UdpSocket>>>,
}

/// Hands on whatever comes to this socket.
pub fn pass(socket: UdpSocket, inside: SocketAddr) {
    let passage = Arc::new(Passage { socket, inside, clients: Mutex::default() });
    let mut datagram = [0; LONGEST];
    loop {
        let Ok((length, client)) = receive(&passage.socket, &mut datagram) else {
            thread::sleep(Duration::from_millis(100)); // without memory: a datagram less
            continue;
        };
        if let Some(server) = way_of(&passage, client) {
            // An error may be one of the last time: nobody listened there.
            let _ = server.send(&datagram[..length]).or_else(|_| server.send(&datagram[..length]));
        }
    }
}

/// A client's socket to the container. `None` if there can't be one.
fn way_of(passage: &Arc<Passage>, client: Client) -> Option<Arc<UdpSocket>> {
    let mut clients = passage.clients.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = clients.get(&client) {
        return Some(Arc::clone(known));
    }
    let all = CLIENTS.load(Ordering::Relaxed);
    if all >= MOST {
        return None;
    }
    let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    server.connect(passage.inside).ok()?;
    server.set_read_timeout(Some(if all < MOST / 2 { SILENCE } else { SHORT_SILENCE })).ok()?;
    let server = Arc::new(server);
    let (passage, its) = (Arc::clone(passage), Arc::clone(&server));
    thread::Builder::new().spawn(move || carry_back(&passage, client, &its)).ok()?;
    CLIENTS.fetch_add(1, Ordering::Relaxed);
    clients.insert(client, Arc::clone(&server));
    Some(server)
}

/// Brings a client its answers, until there have been none for a while.
fn carry_back(passage: &Passage, client: Client, server: &UdpSocket) {
    let mut datagram = [0; LONGEST];
    loop {
        match server.recv(&mut datagram) {
            Ok(length) => drop(send(&passage.socket, &datagram[..length], client)), // if he has gone, it's lost
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => {} // nobody listens there yet
        }
    }
    passage.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
    CLIENTS.fetch_sub(1, Ordering::Relaxed);
}

fn receive(socket: &UdpSocket, datagram: &mut [u8]) -> Result<(usize, Client), Errno> {
    let mut space = cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(datagram)];
    let got =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let meant = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_addr.s6_addr),
        _ => None,
    });
    Ok((got.bytes, (got.address.ok_or(Errno::EINVAL)?, meant)))
}

fn send(socket: &UdpSocket, datagram: &[u8], (to, from): Client) -> Result<(), Errno> {
    let from = from.map(|s6_addr| in6_pktinfo { ipi6_addr: in6_addr { s6_addr }, ipi6_ifindex: 0 });
    let control: Vec<_> = from.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    let parts = [IoSlice::new(datagram)];
    let say = |control: &[_]| sendmsg(socket.as_raw_fd(), &parts, control, MsgFlags::empty(), Some(&to));
    match say(&control) {
        Err(Errno::EINVAL) if !control.is_empty() => say(&[]), // it was for many: that's no address to answer from
        sent => sent,
    }
    .map(drop)
}
