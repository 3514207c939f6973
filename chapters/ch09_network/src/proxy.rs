//! A process that hands on what comes to the host's ports: listen(2), accept(2), fork(2).
//!
//! It's for whoever is on the host: `localhost`, which no rule can lead away, and containers that use a port of the host. What
//! comes from outside is led on by a rule, and gets here only where that can't be. To listen is also to have the port: nobody
//! else gets it, and it's free when the process has gone.

use std::convert::Infallible;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ch01_run::errors;
use ch07_lifecycle::{descriptors, ends};
use log::debug;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket, sockopt,
};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, close, fork};

use crate::ports::Port;

/// A port of the host, and where in the container it leads.
#[derive(Debug)]
pub struct Door {
    /// The host's side.
    pub listener: TcpListener,
    /// The container's side.
    pub inside: SocketAddr,
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

fn listen_at(port: &Port) -> io::Result<TcpListener> {
    debug!("listen: port {} of {:?}", port.host, port.ip);
    match port.ip {
        Some(IpAddr::V4(ip)) => TcpListener::bind((ip, port.host)),
        Some(IpAddr::V6(ip)) => listen_by_ipv6(ip, port.host, true),
        // Whoever comes by IPv4 is heard there, too, unless the kernel has no IPv6.
        None => listen_by_ipv6(Ipv6Addr::UNSPECIFIED, port.host, false).or_else(|error| match error.kind() {
            ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.host)),
        }),
    }
}

/// Whether IPv4 is heard there, too, is the host's decision unless one says it, between socket(2) and bind(2).
fn listen_by_ipv6(ip: Ipv6Addr, port: u16, alone: bool) -> io::Result<TcpListener> {
    let socket = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?; // connections that have just ended don't keep the port
    setsockopt(&socket, sockopt::Ipv6V6Only, &alone)?;
    bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(ip, port, 0, 0)))?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket.into())
}

/// Starts the process. It ends when what this returns is closed, which the kernel does in any case.
pub fn start(doors: Vec<Door>) -> Result<OwnedFd> {
    let (until, ours) = io::pipe().context("making a pipe")?;
    let (mut starts, ready) = io::pipe().context("making a pipe")?;
    debug!("fork(), and in the child fork()");
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }.context("forking a proxy")? {
        // It's the child of nobody who would have to wait for it: a child of a child.
        ForkResult::Child => {
            // SAFETY: as above.
            let ended = match unsafe { fork() }.context("forking a proxy") {
                Ok(ForkResult::Parent { .. }) => exit(0),
                Ok(ForkResult::Child) => serve_all(doors, until, &ready).map(|never| match never {}),
                Err(error) => Err(error),
            };
            let why = ended.map_or_else(|error| errors::one_line(&error), |()| String::new());
            let _ = (&ready).write_all(why.as_bytes()); // if nobody hears it, nobody is there
            exit(1)
        }
        ForkResult::Parent { child } => {
            drop(ready);
            waitpid(child, None).context("waiting for the proxy's parent")?;
            let mut said = String::new();
            starts.read_to_string(&mut said).context("waiting for the proxy")?;
            ensure!(said == READY, "starting the proxy: {said}");
            Ok(ours.into())
        }
    }
}

/// What the process says when all doors are open.
const READY: &str = "ready";

/// All that the process does. It must keep nothing open of its maker's, least of all the lock that says the container lives,
/// and nothing of the caller's, whom the keeper leaves later.
fn serve_all(doors: Vec<Door>, mut until: PipeReader, mut ready: &PipeWriter) -> Result<Infallible> {
    let pipes = [until.as_raw_fd(), ready.as_raw_fd()];
    let listeners = doors.iter().map(|door| door.listener.as_raw_fd());
    descriptors::close_others_but(&listeners.chain(pipes).collect::<Vec<_>>())?;
    ends::to_nowhere(true)?;
    std::env::set_current_dir("/").context("leaving the caller's directory")?;
    for door in doors {
        thread::Builder::new().spawn(move || serve(&door)).context("starting a thread")?;
    }
    ready.write_all(READY.as_bytes()).context("saying that it's ready")?;
    close(ready.as_raw_fd()).context("closing the pipe that says so")?;
    let _ = until.read(&mut [0]); // nobody writes: it's over when there's nobody who could
    exit(0)
}

/// Takes one after the other, and leaves each to a thread of its own.
fn serve(door: &Door) {
    loop {
        let inside = door.inside;
        let taken = door.listener.accept();
        // Without memory or descriptors: a client less, and the next one a moment later.
        let left = taken.and_then(|(client, _)| thread::Builder::new().spawn(move || carry(&client, inside)));
        if left.is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Carries bytes both ways until both sides have said all. A client whose server can't be reached sees its connection close.
fn carry(client: &TcpStream, inside: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&inside, Duration::from_secs(10)) else { return };
    for side in [client, &server] {
        // Whoever vanished without a word is found out after a while, or their connections would be too many one day.
        let _ = setsockopt(side, sockopt::KeepAlive, &true);
        let _ = setsockopt(side, sockopt::TcpKeepIdle, &60);
    }
    let one_way = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to); // either side may go at any time
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        if thread::Builder::new().spawn_scoped(scope, || one_way(&server, client)).is_ok() {
            one_way(client, &server);
        }
    });
}
