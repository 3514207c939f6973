//! A process that hands on what comes to the host's ports: listen(2), accept(2), fork(2).
//!
//! It's for whoever is on the host: `localhost`, which no rule can lead away, and containers that use a port of the host. What
//! comes from outside is led on by a rule, and gets here only where that can't be. To listen is also to have the port: nobody
//! else gets it, and it's free when the process has gone.

use std::convert::Infallible;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::exit;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ch07_lifecycle::descriptors;
use log::debug;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::ports::Port;

/// A port of the host, and where in the container it leads.
#[derive(Debug)]
pub struct Door {
    /// The host's side.
    pub listener: TcpListener,
    /// The container's side.
    pub inside: SocketAddr,
}

/// Takes a port of the host. Fails if somebody else has it.
pub fn open(port: &Port, container: Ipv4Addr) -> Result<Door> {
    let context = || match port.host {
        0 => "opening any port of the host".to_string(),
        host => format!("opening port {host} of the host"),
    };
    let listener = match port.ip {
        Some(ip) => TcpListener::bind((ip, port.host)),
        // Whoever comes by IPv4 is heard there, too, unless the kernel has no IPv6.
        None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port.host)).or_else(|error| match error.kind() {
            ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.host)),
        }),
    };
    Ok(Door { listener: listener.with_context(context)?, inside: (container, port.inside).into() })
}

/// Starts the process. It ends when what this returns is closed, which the kernel does in any case.
pub fn start(doors: Vec<Door>) -> Result<OwnedFd> {
    let (until, ours) = io::pipe().context("making a pipe")?;
    let (mut starts, ready) = io::pipe().context("making a pipe")?;
    debug!("fork()");
    // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
    match unsafe { fork() }.context("forking a proxy")? {
        // It's the child of nobody who would have to wait for it: a child of a child.
        ForkResult::Child => {
            // SAFETY: as above.
            match unsafe { fork() } {
                Ok(ForkResult::Child) => {
                    exit(serve_all(doors, until, ready).map_or(1, |never| match never {}))
                }
                forked => exit(i32::from(forked.is_err())),
            }
        }
        ForkResult::Parent { child } => {
            drop(ready);
            waitpid(child, None).context("waiting for the proxy's parent")?;
            starts.read_exact(&mut [0]).context("waiting for the proxy")?;
            Ok(ours.into())
        }
    }
}

/// All that the process does. It must keep nothing open of its maker's, least of all the lock that says the container lives.
fn serve_all(doors: Vec<Door>, mut until: PipeReader, mut ready: PipeWriter) -> Result<Infallible> {
    let pipes = [until.as_raw_fd(), ready.as_raw_fd()];
    let listeners = doors.iter().map(|door| door.listener.as_raw_fd());
    descriptors::close_others_but(&listeners.chain(pipes).collect::<Vec<_>>())?;
    for door in doors {
        thread::Builder::new().spawn(move || serve(&door)).context("starting a thread")?;
    }
    ready.write_all(b"!").context("saying that it's ready")?;
    drop(ready);
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
