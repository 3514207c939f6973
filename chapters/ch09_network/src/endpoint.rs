//! What `--network` says, in Docker's words: a network, and what the container is to be there. ip(7), packet(7).

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Result, ensure};
use nix::sys::socket::SockProtocol::NetlinkRoute;

use crate::addresses::{self, Subnet};
use crate::bridge;
use crate::hosts;
use crate::links::{self, Mac};
use crate::neighbours::LONGEST_ALIASES;
use crate::netlink::Netlink;
use crate::network::Network;

/// A network, and what is wanted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The network.
    pub network: Network,
    /// The names that the container has there besides its own.
    pub aliases: Vec<String>,
    /// Its address. `None`: one that is free.
    pub ip: Option<Ipv4Addr>,
    /// Its hardware address. `None`: the one that belongs to its address.
    pub mac: Option<Mac>,
}

impl Endpoint {
    /// A network, and nothing in particular is wanted.
    pub fn on(network: Network) -> Endpoint {
        Endpoint { network, aliases: Vec::new(), ip: None, mac: None }
    }

    /// Fails if there is no such network, or no such address on it. The default network will be there.
    pub fn ensure_possible(&self) -> Result<()> {
        let Network::Named(name) = &self.network else { return Ok(()) };
        let subnet = match name.as_str() {
            bridge::DEFAULT => Subnet::numbered(0),
            _ => bridge::named(&Netlink::open(NetlinkRoute)?, name)?.subnet,
        };
        self.ip.map_or(Ok(()), |ip| subnet.number_of(ip).map(drop))
    }

    /// Fails if this can't be wanted, of whichever network.
    pub fn ensure_sound(&self) -> Result<()> {
        let (has_address, name) = (matches!(self.network, Network::Named(_)), self.network.name());
        ensure!(
            has_address || self.aliases.is_empty(),
            "--network-alias: nobody asks for a container on the network {name}"
        );
        ensure!(
            has_address || (self.ip.is_none() && self.mac.is_none()),
            "--ip and --mac-address: a container on the network {name} has no address of its own"
        );
        let aliases: usize = self.aliases.iter().map(|alias| alias.len() + 1).sum();
        ensure!(
            aliases <= LONGEST_ALIASES,
            "--network-alias: all of them have {LONGEST_ALIASES} letters at most"
        );
        Ok(())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// `web`, or `name=web,alias=www,ip=10.9.8.7,mac-address=02:42:0a:09:08:07`.
    fn from_str(text: &str) -> Result<Endpoint, String> {
        if !text.contains('=') {
            return text.parse().map(Endpoint::on);
        }
        let (mut network, mut endpoint) = (None, Endpoint::on(Network::None));
        for field in text.split(',') {
            let wrong = || format!("{field:?} is none of name=, alias=, ip= and mac-address=");
            match field.split_once('=').ok_or_else(wrong)? {
                ("name", name) => network = Some(name.parse()?),
                ("alias", alias) => endpoint.aliases.push(hosts::alias(alias)?),
                ("ip", ip) => {
                    endpoint.ip = Some(ip.parse().map_err(|_| format!("{ip:?} is no IPv4 address"))?)
                }
                ("mac-address", mac) => endpoint.mac = Some(addresses::parse_mac(mac)?),
                _ => return Err(wrong()),
            }
        }
        endpoint.network = network.ok_or_else(|| format!("{text:?} says no name="))?;
        Ok(endpoint)
    }
}

/// So that it can be read again.
impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", self.network.name())?;
        self.aliases.iter().try_for_each(|alias| write!(f, ",alias={alias}"))?;
        self.ip.map_or(Ok(()), |ip| write!(f, ",ip={ip}"))?;
        self.mac.map_or(Ok(()), |mac| write!(f, ",mac-address={}", links::shown(mac)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_takes_and_what_not() {
        let web = Endpoint::on(Network::Named("web".to_string()));
        assert_eq!("web".parse(), Ok(web.clone()));
        assert_eq!("name=web".parse(), Ok(web.clone()));
        let more = Endpoint {
            aliases: vec!["www".to_string(), "shop".to_string()],
            ip: Some([10, 9, 8, 7].into()),
            mac: Some([2, 0x42, 10, 9, 8, 7]),
            ..web
        };
        let text = "name=web,alias=www,alias=shop,ip=10.9.8.7,mac-address=02:42:0a:09:08:07";
        assert_eq!((text.parse(), more.to_string().as_str()), (Ok(more), text));
        for text in [
            "",
            "alias=www",
            "name=",
            "name=web,",
            "name=web,ip=",
            "name=web,ip=::1",
            "name=web,mac-address=2",
            "name=web,driver-opt=x",
            "web,alias=www",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
