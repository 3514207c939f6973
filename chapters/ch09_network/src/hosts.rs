//! What `--add-host` and `--network-alias` say, in Docker's words.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::neighbours::LONGEST_LABEL;

/// A name that one container is to know, and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: String,
    /// `None`: the host's, whichever that is.
    address: Option<IpAddr>,
}

/// How that one is called.
const THE_HOST: &str = "host-gateway";

impl FromStr for Host {
    type Err = String;

    /// `NAME:IP` or `NAME=IP`.
    fn from_str(text: &str) -> Result<Host, String> {
        let wrong = || format!("{text:?} is no NAME:IP");
        let (name, ip) = text.split_once([':', '=']).ok_or_else(wrong)?;
        let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
        let address = if ip == THE_HOST { None } else { Some(bare.parse().map_err(|_| wrong())?) };
        // In the file, names end at a space.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic() && c != '#') {
            return Err(wrong());
        }
        Ok(Host { name: name.to_string(), address })
    }
}

/// So that it can be read again.
impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}:{address}", self.name),
            None => write!(f, "{}:{THE_HOST}", self.name),
        }
    }
}

impl Host {
    /// The address, where this is the host's.
    pub fn address(&self, host: Ipv4Addr) -> IpAddr {
        self.address.unwrap_or(host.into())
    }
}

/// Another name for a container on its network. It's a name as programs can ask for it.
pub fn alias(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        let fits = (1..=LONGEST_LABEL).contains(&part.len());
        fits && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.split('.').all(is_part) {
        return Ok(text.to_string());
    }
    Err(format!("{text:?} is no name of letters, digits, _ - and ."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_dockers() {
        for (text, name, address) in [
            ("db:10.1.2.3", "db", "10.1.2.3"),
            ("db=10.1.2.3", "db", "10.1.2.3"),
            ("db.example:::1", "db.example", "::1"),
            ("db:[fd00::2]", "db", "fd00::2"),
            ("host.docker.internal:host-gateway", "host.docker.internal", "172.30.0.1"),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!(
                (host.name.as_str(), host.address([172, 30, 0, 1].into()).to_string().as_str()),
                (name, address),
                "{text}"
            );
            assert_eq!(host.to_string().parse(), Ok(host), "{text}");
        }
        for text in ["", "db", "db:", ":10.1.2.3", "a b:10.1.2.3", "a\nb:10.1.2.3", "db:host", "db:10.1.2"] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn aliases() {
        for text in ["db", "a", "3", "db.example", "my_db-2"] {
            assert_eq!(alias(text), Ok(text.to_string()));
        }
        for text in ["", "-", "-a", "a b", "a..b", "a.", ".a", "ä", "a/b", &"a".repeat(64)] {
            assert!(alias(text).is_err(), "{text:?}");
        }
    }
}
