//! Ports that are published: what `-p` says, in Docker's words.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// How something comes to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// By a connection.
    Tcp,
    /// By itself.
    Udp,
}

/// A port of the host that leads to one of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The address of the host that it's for. `None`: any.
    pub ip: Option<IpAddr>,
    /// The host's port. 0: one that is free.
    pub host: u16,
    /// The container's port.
    pub inside: u16,
    /// Both ports'.
    pub protocol: Protocol,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            other => Err(format!("{other:?} is neither tcp nor udp")),
        }
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// What one `-p` says: a port, or several in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(pub Vec<Port>);

impl FromStr for Ports {
    type Err = String;

    /// `80`, `8080:80`, `127.0.0.1:8080:80`, `127.0.0.1::80`, `[::1]:8080:80`, `8000-8002:80-82`, and each of them with
    /// `/tcp` or `/udp`.
    fn from_str(text: &str) -> Result<Ports, String> {
        let wrong = || format!("{text:?} is no [IP:][HOST-PORT:]PORT[/udp]");
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.parse()?;
        let (before, inside) = ports.rsplit_once(':').unwrap_or(("", ports));
        let (ip, host) = match before.rsplit_once(':') {
            None => (None, before),
            Some((ip, host)) => {
                let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                (Some(bare.parse().map_err(|_| wrong())?), host)
            }
        };
        let inside = range(inside).ok_or_else(wrong)?;
        let hosts = if host.is_empty() { vec![0; inside.len()] } else { range(host).ok_or_else(wrong)? };
        if hosts.len() != inside.len() {
            return Err(format!(
                "{text:?}: the host has {} ports, the container {}",
                hosts.len(),
                inside.len()
            ));
        }
        Ok(Ports(
            hosts.into_iter().zip(inside).map(|(host, inside)| Port { ip, host, inside, protocol }).collect(),
        ))
    }
}

/// What one `--expose` says: ports of the container. None of the host's leads there, or one that's free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed(pub Vec<Port>);

impl FromStr for Exposed {
    type Err = String;

    /// `80`, `80-82`, `53/udp`.
    fn from_str(text: &str) -> Result<Exposed, String> {
        match text.parse() {
            Ok(Ports(ports)) if !text.contains(':') => Ok(Exposed(ports)),
            _ => Err(format!("{text:?} is no PORT[/udp]")),
        }
    }
}

/// `80` or `80-82`.
fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let all: Vec<u16> = (first.parse().ok()?..=last.parse().ok()?).collect();
    Some(all).filter(|all| all.first().is_some_and(|first| *first != 0))
}

/// So that it can be read again.
impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(ip) => write!(f, "{ip}:")?,
            None => {}
        }
        match self.host {
            0 if self.ip.is_none() => {}
            0 => write!(f, ":")?,
            host => write!(f, "{host}:")?,
        }
        write!(f, "{}/{}", self.inside, self.protocol)
    }
}

impl Port {
    /// What `port` prints of it, once the host's port is known: a line for each kind of address.
    pub fn shown(&self, host: SocketAddr) -> String {
        let line = |ip: IpAddr| {
            format!("{}/{} -> {}\n", self.inside, self.protocol, SocketAddr::new(ip, host.port()))
        };
        if self.ip.is_none() && host.is_ipv6() {
            return line(Ipv4Addr::UNSPECIFIED.into()) + &line(host.ip()); // it's heard by IPv4, too
        }
        line(host.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_dockers() {
        let shown = |text: &str, host: &str| {
            let Ports(ports) = text.parse().unwrap();
            ports[0].shown(host.parse().unwrap())
        };
        assert_eq!(shown("8080:80", "[::]:8080"), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
        assert_eq!(shown("127.0.0.1::80", "127.0.0.1:4711"), "80/tcp -> 127.0.0.1:4711\n");
        assert_eq!(shown("[::]:1:80", "[::]:1"), "80/tcp -> [::]:1\n");
    }

    #[test]
    fn what_docker_takes_and_what_not() {
        let port = |ip: &str, host, inside| {
            let protocol = if inside == 53 { Protocol::Udp } else { Protocol::Tcp };
            Port { ip: ip.parse().ok(), host, inside, protocol }
        };
        for (text, expected) in [
            ("80", port("", 0, 80)),
            ("8080:80", port("", 8080, 80)),
            (":80", port("", 0, 80)),
            ("8080:80/tcp", port("", 8080, 80)),
            ("127.0.0.1:5353:53/udp", port("127.0.0.1", 5353, 53)),
            ("127.0.0.1:8080:80", port("127.0.0.1", 8080, 80)),
            ("127.0.0.1::80", port("127.0.0.1", 0, 80)),
            ("[::1]:8080:80", port("::1", 8080, 80)),
            ("::1:8080:80", port("::1", 8080, 80)),
        ] {
            assert_eq!(text.parse(), Ok(Ports(vec![expected])), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(Ports(vec![expected])), "{text}");
        }
        let row = |host: u16, inside: u16| Ports((0..3).map(|n| port("", host + n, inside + n)).collect());
        assert_eq!("8000-8002:80-82".parse(), Ok(row(8000, 80)));
        assert_eq!("[::1]:8000-8000:80/tcp".parse(), Ok(Ports(vec![port("::1", 8000, 80)])));
        assert_eq!("80-82".parse::<Ports>().map(|Ports(ports)| ports.len()), Ok(3));
        for text in [
            "",
            "x",
            "0",
            "80:0",
            "65536",
            "8080:",
            "1:2:3",
            "8080-8081:80",
            "2-1",
            "0-1",
            "1-",
            "80/icmp",
            "80/",
            "localhost:1:2",
        ] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }
}
