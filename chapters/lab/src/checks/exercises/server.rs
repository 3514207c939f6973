//! A server in a container, and who asks it out of another one: sockets of the check's own, made in their networks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::checks::network::asker::inside;
use crate::see::{self, differs};
use crate::trial::kept::Kept;

/// What gets there takes no longer; nothing of it leaves the machine.
const ENOUGH: Duration = Duration::from_secs(1);

/// A server in a container, at this port: by connections or by datagrams.
pub(super) enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Server {
    pub(super) fn tcp(one: &Kept<'_>, port: u16) -> Result<Server> {
        let open = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listening in the container");
        inside(one.process()?, open).map(Server::Tcp)
    }

    pub(super) fn udp(one: &Kept<'_>, port: u16) -> Result<Server> {
        datagrams(one, port).map(Server::Udp)
    }

    /// As whom it sees somebody who asks from this port of his, 0 being any. He has to get the answer. `None` if his
    /// question doesn't come.
    fn sees(&self, from: &Kept<'_>, port: u16, at: Ipv4Addr) -> Result<Option<Ipv4Addr>> {
        match self {
            Server::Tcp(listener) => {
                let to = SocketAddrV4::new(at, listener.local_addr()?.port());
                let Some(mut stream) = connected(from, port, to)? else { return Ok(None) };
                let (mut served, seen) = listener.accept().context("accepting a connection")?;
                served.write_all(b"hello").context("answering")?;
                drop(served);
                let mut answer = String::new();
                stream.read_to_string(&mut answer).map_err(|error| no_answer(from, to, error))?;
                ipv4(seen.ip()).map(Some)
            }
            Server::Udp(server) => {
                let to = SocketAddrV4::new(at, server.local_addr()?.port());
                let client = datagrams(from, port)?;
                client.send_to(b"hello?", to).context("asking")?;
                let mut bytes = [0; 100];
                let Ok((_, seen)) = server.recv_from(&mut bytes) else { return Ok(None) };
                server.send_to(b"hello", seen).context("answering")?;
                client.recv_from(&mut bytes).map_err(|error| no_answer(from, to, error))?;
                ipv4(seen.ip()).map(Some)
            }
        }
    }

    /// Fails unless it sees him so.
    pub(super) fn must_see(
        &self,
        from: &Kept<'_>,
        port: u16,
        at: Ipv4Addr,
        expected: Option<Ipv4Addr>,
    ) -> Result<()> {
        let (to, how) = match self {
            Server::Tcp(listener) => (listener.local_addr()?.port(), "tcp"),
            Server::Udp(socket) => (socket.local_addr()?.port(), "udp"),
        };
        let by = if port == 0 { String::new() } else { format!(", from port {port}") };
        let did = format!("{}; then it asks {at}, at port {to}/{how}{by}", from.line());
        see::same(did, "the asker's address, as it's seen there:", expected, self.sees(from, port, at)?)
    }
}

fn no_answer(from: &Kept<'_>, to: SocketAddrV4, error: io::Error) -> Error {
    differs(format!("{}; then it asks {to}", from.line()), "the answer to come back", error)
}

fn ipv4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => bail!("{address} is no address of IPv4"),
    }
}

/// A socket in a container.
pub(super) fn datagrams(one: &Kept<'_>, port: u16) -> Result<UdpSocket> {
    let open = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("making a socket in the container");
    let socket = inside(one.process()?, open)?;
    socket.set_read_timeout(Some(ENOUGH))?;
    Ok(socket)
}

/// A connection out of a container, from a port of one's choice. `None` if nobody takes it.
pub(super) fn connected(from: &Kept<'_>, port: u16, to: SocketAddrV4) -> Result<Option<TcpStream>> {
    let made = inside(from.process()?, || {
        let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        made.context("making a socket in the container")
    })?;
    let here = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    bind(made.as_raw_fd(), &here).context("binding a socket")?;
    setsockopt(&made, SendTimeout, &TimeVal::new(ENOUGH.as_secs().try_into()?, 0))?;
    let is_there = connect(made.as_raw_fd(), &SockaddrIn::from(to)).is_ok();
    let stream = TcpStream::from(made);
    stream.set_read_timeout(Some(ENOUGH * 5))?;
    Ok(is_there.then_some(stream))
}
