//! A network's IPv6 addresses: RFC 4193, ipv6(7).
//!
//! Each is made of an IPv4 address, which is its end. So nobody has to say who has which one: the cable's name still
//! does.

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Result};

/// What all IPv6 addresses of a network begin with: half of an address, as in every such network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix([u8; 8]);

/// How many bits that is.
pub const PREFIX: u8 = 64;

impl Prefix {
    /// One for private use, at random: two machines whose networks are joined one day should not have the same.
    pub fn random() -> Result<Prefix> {
        let mut bytes = [0; 8];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        read.context("reading /dev/urandom")?;
        bytes[0] = 0xfd; // of those, the ones that anybody may choose
        Ok(Prefix(bytes))
    }

    /// The one that makes this address of a gateway's.
    pub fn of(gateway: Ipv4Addr, made: Ipv6Addr) -> Option<Prefix> {
        let prefix = Prefix(*made.octets().first_chunk()?);
        (prefix.address(gateway) == made).then_some(prefix)
    }

    /// What all addresses begin with.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The IPv6 address of whoever has this one.
    pub fn address(&self, ipv4: Ipv4Addr) -> Ipv6Addr {
        let [a, b, c, d] = ipv4.octets();
        let last = [0, 0, 0, 0, a, b, c, d];
        Ipv6Addr::from_bits(
            u128::from(u64::from_be_bytes(self.0)) << 64 | u128::from(u64::from_be_bytes(last)),
        )
    }

    /// Whether an address is one of these.
    pub fn has(&self, made: Ipv6Addr) -> bool {
        made.octets().starts_with(&self.0)
    }

    /// The IPv4 address of which this one is made. `None` if it can't be one's here.
    pub fn ipv4(&self, made: Ipv6Addr) -> Option<Ipv4Addr> {
        let [.., a, b, c, d] = made.octets();
        let ipv4 = Ipv4Addr::from([a, b, c, d]);
        (self.address(ipv4) == made).then_some(ipv4)
    }
}

impl Display for Prefix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{PREFIX}", self.address(Ipv4Addr::UNSPECIFIED))
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// `fd00:9:8:7::/64`
    fn from_str(text: &str) -> Result<Prefix, String> {
        let wrong = || format!("{text:?} is no IPv6 network of half an address, as fd00:9:8:7::/64");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        let prefix = Prefix::of(Ipv4Addr::UNSPECIFIED, address).filter(|_| bits == PREFIX.to_string());
        // What begins with a zero is IPv4's and a machine's own.
        let is_for_hosts =
            address.octets()[0] != 0 && !address.is_multicast() && !address.is_unicast_link_local();
        prefix.filter(|_| is_for_hosts).ok_or_else(wrong)
    }
}

/// `4.0.0.0.` and 28 more such digits before `ip6.arpa` is an address that ends with 4.
pub fn reversed(name: &str) -> Option<Ipv6Addr> {
    let digits: Vec<_> = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    let is_whole = digits.len() == 32 && digits.iter().all(|digit| digit.len() == 1 && *digit != "+");
    let number = u128::from_str_radix(&digits.concat(), 16).ok().filter(|_| is_whole)?;
    Some(Ipv6Addr::from_bits(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_made_and_understood() {
        let (prefix, ipv4): (Prefix, Ipv4Addr) = ("fd00:9:8:7::/64".parse().unwrap(), [10, 9, 8, 7].into());
        let made = prefix.address(ipv4);
        assert_eq!(made.to_string(), "fd00:9:8:7::a09:807");
        assert_eq!((prefix.ipv4(made), Prefix::of(ipv4, made)), (Some(ipv4), Some(prefix)));
        for other in ["fd00:9:8:8::a09:807", "fd00:9:8:7:1::a09:807", "::a09:807"] {
            assert_eq!(prefix.ipv4(other.parse().unwrap()), None, "{other}");
        }
        assert_eq!(Prefix::of([10, 9, 8, 1].into(), made), None);
    }

    #[test]
    fn an_address_as_a_name() {
        let name = format!("4.3.2.1.{}d.f.ip6.arpa", "0.".repeat(26));
        assert_eq!(reversed(&name), "fd00::1234".parse().ok());
        for name in [name.replace("4.3.2.1.", "43.2.1.0."), name.replace("4.3", "3"), "ip6.arpa".to_string()]
        {
            assert_eq!(reversed(&name), None, "{name}");
        }
    }

    #[test]
    fn networks_as_they_are_written() {
        assert_eq!("fd00:9:8:7::/64".parse::<Prefix>().unwrap().to_string(), "fd00:9:8:7::/64");
        let some = Prefix::random().unwrap();
        assert_eq!(some.to_string().parse(), Ok(some));
        for text in
            ["", "fd00::", "fd00::/48", "fd00::1/64", "fe80::/64", "ff02::/64", "::/64", "10.9.8.0/64"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
