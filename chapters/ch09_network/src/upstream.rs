//! The name servers of the host, for all names that aren't ours: resolv.conf(5), RFC 1035, RFC 7766.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;

/// How the host finds names, and a container too.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long one of them may take, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest packet.
pub const LONGEST: usize = 65_535;

/// Who is asked: those that were `given`, or else the host's, as its file says now. Laptops move.
pub fn servers(given: &[IpAddr]) -> Vec<SocketAddr> {
    if !given.is_empty() {
        return given.iter().map(|server| (*server, 53).into()).collect();
    }
    let text = fs::read(RESOLV_CONF).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let servers: Vec<_> = lines.filter_map(|line| server(line.split_whitespace().next()?)).collect();
    // Without any, it's the one on the host itself.
    if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, 53).into()] } else { servers }
}

/// An address, perhaps of one that is next door, by this interface: `fe80::1%wlan0`.
fn server(text: &str) -> Option<SocketAddr> {
    let (address, by) = text.split_once('%').unwrap_or((text, ""));
    Some(match address.parse().ok()? {
        IpAddr::V6(address) => SocketAddrV6::new(address, 53, 0, if_nametoindex(by).unwrap_or(0)).into(),
        address => (address, 53).into(),
    })
}

/// Asks one after the other. `None` if nobody answers.
pub fn by_udp(servers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    first_good(servers, |server| ask_by_udp(server, question))
}

/// The same, for an answer that may be long.
pub fn by_tcp(servers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    first_good(servers, |server| ask_by_tcp(server, question))
}

/// Whoever says that he failed, or doesn't want to, has answered only if nobody else does.
fn first_good(servers: &[SocketAddr], ask: impl Fn(SocketAddr) -> io::Result<Vec<u8>>) -> Option<Vec<u8>> {
    const FAILED: [u8; 3] = [2, 4, 5];
    let mut bad = None;
    for answer in servers.iter().filter_map(|server| ask(*server).ok()) {
        if !FAILED.contains(&(answer[3] & 0xf)) {
            return Some(answer);
        }
        bad = bad.or(Some(answer));
    }
    bad
}

/// Whether a packet can be the answer to a question: it has a header, and the question's number.
fn fits(packet: &[u8], question: &[u8]) -> bool {
    packet.len() >= 12 && packet[..2] == question[..2]
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
        if fits(&packet[..length], question) {
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
    let answer = receive(&mut stream)?;
    if fits(&answer, question) { Ok(answer) } else { Err(ErrorKind::InvalidData.into()) }
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
