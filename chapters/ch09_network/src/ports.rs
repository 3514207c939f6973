//! Ports that are published: what `-p` says, in Docker's words.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A port of the host that leads to one of the container. TCP only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The address of the host that it's for. `None`: any.
    pub ip: Option<IpAddr>,
    /// The host's port. 0: one that is free.
    pub host: u16,
    /// The container's port.
    pub inside: u16,
}

impl FromStr for Port {
    type Err = String;

    /// `80`, `8080:80`, `127.0.0.1:8080:80`, `127.0.0.1::80`, `[::1]:8080:80`, and each of them with `/tcp`.
    fn from_str(text: &str) -> Result<Port, String> {
        let wrong = || format!("{text:?} is no [IP:][HOST-PORT:]PORT[/tcp]");
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if protocol != "tcp" {
            return Err(format!("{text:?}: only TCP ports can be published"));
        }
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
        let (before, inside) = ports.rsplit_once(':').unwrap_or(("", ports));
        let (ip, host) = match before.rsplit_once(':') {
            None => (None, before),
            Some((ip, host)) => {
                let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                (Some(bare.parse().map_err(|_| wrong())?), host)
            }
        };
        let host = if host.is_empty() { 0 } else { number(host)? };
        Ok(Port { ip, host, inside: number(inside)? })
    }
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
        write!(f, "{}", self.inside)
    }
}

impl Port {
    /// What `port` prints of it, once the host's port is known: a line for each kind of address.
    pub fn shown(&self, host: SocketAddr) -> String {
        let line = |ip: IpAddr| format!("{}/tcp -> {}\n", self.inside, SocketAddr::new(ip, host.port()));
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
        let shown = |text: &str, host: &str| text.parse::<Port>().unwrap().shown(host.parse().unwrap());
        assert_eq!(shown("8080:80", "[::]:8080"), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
        assert_eq!(shown("127.0.0.1::80", "127.0.0.1:4711"), "80/tcp -> 127.0.0.1:4711\n");
        assert_eq!(shown("[::]:1:80", "[::]:1"), "80/tcp -> [::]:1\n");
    }

    #[test]
    fn what_docker_takes_and_what_not() {
        let port = |ip: &str, host, inside| Port { ip: ip.parse().ok(), host, inside };
        for (text, expected) in [
            ("80", port("", 0, 80)),
            ("8080:80", port("", 8080, 80)),
            (":80", port("", 0, 80)),
            ("8080:80/tcp", port("", 8080, 80)),
            ("127.0.0.1:8080:80", port("127.0.0.1", 8080, 80)),
            ("127.0.0.1::80", port("127.0.0.1", 0, 80)),
            ("[::1]:8080:80", port("::1", 8080, 80)),
            ("::1:8080:80", port("::1", 8080, 80)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        for text in
            ["", "x", "0", "80:0", "65536", "8080:", "1:2:3", "8080-8081:80", "80/udp", "localhost:1:2"]
        {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }
}
