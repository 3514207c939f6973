//! What comes to the host's ports is handed on by a process: listen(2), accept(2).
//!
//! It's for whoever is on the host: `localhost`, which no rule can lead away, and containers that use a port of the
//! host. What comes from outside is led on by a rule, and gets here only where that can't be. To listen is also to have
//! the port: nobody else gets it, and it's free when the process has gone.

use std::io::{self, BufReader, ErrorKind};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket,
};
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use log::debug;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket, sockopt,
};

use crate::datagrams;
use crate::ports::{Port, Protocol};

/// A port of the host, and where in the container it leads.
#[derive(Debug)]
pub struct Door {
    /// The host's side.
    pub listener: Listener,
    /// The container's side.
    inside: SocketAddr,
}

/// The host's side of a door.
#[derive(Debug)]
pub enum Listener {
    /// Connections come there.
    Tcp(TcpListener),
    /// Datagrams come there.
    Udp(UdpSocket),
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let address = match self {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Udp(socket) => socket.local_addr(),
        }?;
        Ok((address.ip().to_canonical(), address.port()).into())
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Udp(socket) => socket.as_raw_fd(),
        }
    }
}

/// How long to try again: the proxy of a container that has just ended may be about to end, too.
const A_MOMENT: Duration = Duration::from_secs(1);

/// Takes a port of the host. Fails if somebody else has it.
pub fn open(port: &Port, container: Ipv4Addr) -> Result<Door> {
    let end = Instant::now() + A_MOMENT;
    let listener = loop {
        match listen_at(port) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            listens => break listens.with_context(|| format!("opening the host's side of port {port}"))?,
        }
    };
    Ok(Door { listener, inside: (container, port.inside).into() })
}

fn listen_at(port: &Port) -> io::Result<Listener> {
    debug!("bind: port {}/{} of {:?}", port.host, port.protocol, port.ip);
    match port.ip {
        // A socket of IPv6 that hears IPv4 only: it says in the same words which address was meant.
        Some(IpAddr::V4(ip)) if ip.is_unspecified() && port.protocol == Protocol::Udp => {
            listen_by_both(port, ip.to_ipv6_mapped())
        }
        Some(IpAddr::V4(ip)) => listen_by_ipv4(port, ip),
        Some(IpAddr::V6(ip)) => listen_by_ipv6(port, ip, true),
        None => listen_by_both(port, Ipv6Addr::UNSPECIFIED),
    }
}

/// Whoever comes by IPv4 is heard there, too, unless the kernel has no IPv6.
fn listen_by_both(port: &Port, ip: Ipv6Addr) -> io::Result<Listener> {
    listen_by_ipv6(port, ip, false).or_else(|error| match error.kind() {
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
        _ => listen_by_ipv4(port, Ipv4Addr::UNSPECIFIED),
    })
}

fn listen_by_ipv4(port: &Port, ip: Ipv4Addr) -> io::Result<Listener> {
    match port.protocol {
        Protocol::Tcp => TcpListener::bind((ip, port.host)).map(Listener::Tcp),
        Protocol::Udp => UdpSocket::bind((ip, port.host)).map(Listener::Udp),
    }
}

/// Whether IPv4 is heard there, too, is the host's decision unless one says it, between socket(2) and bind(2).
fn listen_by_ipv6(port: &Port, ip: Ipv6Addr, alone: bool) -> io::Result<Listener> {
    let kind = match port.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let socket = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &alone)?;
    let address = SockaddrIn6::from(SocketAddrV6::new(ip, port.host, 0, 0));
    match port.protocol {
        Protocol::Tcp => {
            setsockopt(&socket, sockopt::ReuseAddr, &true)?; // connections that have just ended don't keep the port
            bind(socket.as_raw_fd(), &address)?;
            listen(&socket, Backlog::MAXCONN)?;
            Ok(Listener::Tcp(socket.into()))
        }
        Protocol::Udp => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?; // an answer comes from where the question went
            bind(socket.as_raw_fd(), &address)?;
            Ok(Listener::Udp(socket.into()))
        }
    }
}

/// Starts a thread that serves a door.
pub fn serve(door: Door) -> Result<()> {
    let inside = door.inside;
    let thread = match door.listener {
        Listener::Tcp(listener) => thread::Builder::new().spawn(move || welcome(&listener, inside)),
        Listener::Udp(socket) => thread::Builder::new().spawn(move || datagrams::pass(socket, inside)),
    };
    thread.context("starting a thread").map(drop)
}

/// Takes one after the other, and leaves each to a thread of its own.
fn welcome(listener: &TcpListener, inside: SocketAddr) {
    loop {
        let taken = listener.accept();
        // Without memory or descriptors: a client less, and the next one a moment later.
        let left = taken.and_then(|(client, _)| thread::Builder::new().spawn(move || carry(&client, inside)));
        if left.is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// How much is carried at a time: each time costs two system calls. The library's own choice is an eighth of it, and half
/// as fast.
const BYTES_AT_ONCE: usize = 64 * 1024;

/// Carries bytes both ways until both sides have said all. A client whose server can't be reached sees its connection
/// close.
fn carry(client: &TcpStream, inside: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&inside, Duration::from_secs(10)) else { return };
    for side in [client, &server] {
        // Whoever vanished without a word is found out after a while, or their connections would be too many one day.
        let _ = setsockopt(side, sockopt::KeepAlive, &true);
        let _ = setsockopt(side, sockopt::TcpKeepIdle, &60);
    }
    let one_way = |from: &TcpStream, mut to: &TcpStream| {
        let mut from = BufReader::with_capacity(BYTES_AT_ONCE, from);
        let _ = io::copy(&mut from, &mut to); // either side may go at any time
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        if thread::Builder::new().spawn_scoped(scope, || one_way(&server, client)).is_ok() {
            one_way(client, &server);
        }
    });
}
