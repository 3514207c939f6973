//! The name servers of the host, for all names that aren't ours: resolv.conf(5), RFC 1035, RFC 7766.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How the host finds names, and a container too.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long one of them may take, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest packet.
pub const LONGEST: usize = 65_535;

/// Who is asked: those that were `given`, or else the host's, as its file says now. Laptops move.
pub fn servers(given: &[IpAddr]) -> Vec<SocketAddr> {
    let of_host = || {
        let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let words = text.lines().map(str::split_whitespace);
        let servers =
            words.filter_map(|mut words| words.next().filter(|word| *word == "nameserver").and(words.next()));
        let servers: Vec<IpAddr> = servers.filter_map(|server| server.parse().ok()).collect();
        // Without any, it's the one on the host itself.
        if servers.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { servers }
    };
    let servers = if given.is_empty() { of_host() } else { given.to_vec() };
    servers.into_iter().map(|server| (server, 53).into()).collect()
}

/// Asks one after the other. `None` if nobody answers.
pub fn by_udp(servers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    servers.iter().find_map(|server| ask_by_udp(*server, question).ok())
}

/// The same, for an answer that may be long.
pub fn by_tcp(servers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    servers.iter().find_map(|server| ask_by_tcp(*server, question).ok())
}

/// The packets stay as they are, both of them: whoever asks may know more of them than we do.
fn ask_by_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own for each question, which nobody can guess; and connected, so that it hears nobody else.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let end = Instant::now() + PATIENCE;
    let mut packet = vec![0; LONGEST];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut packet)?;
        if length >= 12 && packet[..2] == question[..2] {
            packet.truncate(length);
            return Ok(packet);
        }
    }
}

fn ask_by_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    send(&mut stream, question)?;
    receive(&mut stream)
}

/// By TCP, a packet has its length before it.
pub fn send(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    let length = u16::try_from(packet.len()).map_err(|_| ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat())
}

/// The next packet.
pub fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}
