//! A network's addresses, and what is made of them: RFC 1918.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Result, ensure};

use crate::links::Mac;

/// What our bridges are called: this, and a number. Number 0 is the network that everybody is on who asks for no other.
pub const BRIDGES: &str = "byhand";

/// The addresses of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The host's own address in it, where its containers send what is for elsewhere.
    pub gateway: Ipv4Addr,
    /// How many of an address's bits all of them share: 16 or 24, so that it's whole bytes.
    pub prefix: u8,
}

impl Subnet {
    /// What a network has unless somebody says it, by the number of its bridge: some of those for private use.
    pub const fn numbered(number: u8) -> Subnet {
        Subnet { gateway: Ipv4Addr::new(172, 30, number, 1), prefix: 24 }
    }

    /// The bytes that all addresses begin with.
    pub fn bytes(&self) -> Vec<u8> {
        self.gateway.octets()[..usize::from(self.prefix / 8)].to_vec()
    }

    /// The address of this number. 0 is the network itself, and the last one is everybody.
    pub fn address(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() & !(self.size() - 1) | number)
    }

    /// Whether an address is one of these.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        address.octets().starts_with(&self.bytes())
    }

    /// Whether somebody can have it: it's not the network's own, and not everybody's.
    pub fn can_be_given(&self, address: Ipv4Addr) -> bool {
        self.has(address) && ![self.address(0), self.address(self.size() - 1)].contains(&address)
    }

    /// The number of an address that a container is to have. Fails if it can't be one's.
    pub fn number_of(&self, address: Ipv4Addr) -> Result<u32> {
        ensure!(
            self.can_be_given(address) && address != self.gateway,
            "{address} is no address that a container could have in {self}"
        );
        Ok(address.to_bits() & (self.size() - 1))
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.has(other.gateway) || other.has(self.gateway)
    }

    /// How many there are.
    fn size(&self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }

    /// All numbers that can be a container's, from one on that depends on its id: who starts at the same time hardly
    /// ever wants the same one.
    pub fn numbers(&self, id: &str) -> impl Iterator<Item = u32> {
        let (all, gateway) = (self.size() - 2, self.gateway.to_bits() & (self.size() - 1));
        let start =
            id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % all;
        (0..all).map(move |step| 1 + (start + step) % all).filter(move |number| *number != gateway)
    }
}

impl Display for Subnet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(0), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    /// `10.9.8.0/24` or `10.9.0.0/16`. The host has the first address.
    fn from_str(text: &str) -> Result<Subnet, String> {
        let wrong =
            || format!("{text:?} is no network of 256 or 65536 addresses, as 10.9.8.0/24 or 10.9.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, prefix): (Ipv4Addr, _) = match (address.parse(), prefix) {
            (Ok(address), "16") => (address, 16),
            (Ok(address), "24") => (address, 24),
            _ => return Err(wrong()),
        };
        let subnet = Subnet { gateway: Ipv4Addr::from_bits(address.to_bits() | 1), prefix };
        let is_for_hosts = !address.is_loopback() && !address.is_multicast() && address.octets()[0] != 0;
        if subnet.address(0) == address && is_for_hosts { Ok(subnet) } else { Err(wrong()) }
    }
}

/// How the cable of this number is called.
pub fn cable(bridge: &str, number: u32) -> String {
    format!("{bridge}-{number}")
}

/// The number of the cable that is called so.
pub fn number_of(bridge: &str, cable: &str) -> Option<u32> {
    cable.strip_prefix(bridge)?.strip_prefix('-')?.parse().ok()
}

/// The hardware address that belongs to an address, always the same one. Others remember which one they've seen, and
/// would send to a container that's gone for as long. The second bit of the first byte says that no factory has chosen
/// it.
pub fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// One that somebody wants: a single interface's, for the first bit that is sent says whether it's for many.
pub fn parse_mac(text: &str) -> Result<Mac, String> {
    let wrong = || format!("{text:?} is no hardware address of one interface, as 02:42:0a:09:08:07");
    let bytes = text.split([':', '-']).map(|byte| {
        let is_byte = byte.len() == 2 && byte.chars().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(byte, 16).ok().filter(|_| is_byte)
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    let mac: Mac = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
    if mac[0] & 1 == 0 && mac != [0; 6] { Ok(mac) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SMALL: Subnet = Subnet::numbered(0);

    #[test]
    fn every_number_comes_once() {
        for id in ["", "0123456789ab", "ffffffffffff", "a"] {
            let all: Vec<_> = SMALL.numbers(id).collect();
            assert_eq!(all.len(), 253, "{id}");
            assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (2..=254).collect(), "{id}");
        }
        let big: Subnet = "10.9.0.0/16".parse().unwrap();
        let middle = Subnet { gateway: [10, 9, 4, 4].into(), ..big };
        assert_eq!(middle.numbers("x").collect::<BTreeSet<_>>().len(), 65_533);
        assert!(middle.numbers("x").all(|number| middle.address(number) != middle.gateway));
    }

    #[test]
    fn not_all_begin_at_the_same() {
        let starts: BTreeSet<_> =
            (0..100).filter_map(|n| SMALL.numbers(&format!("{n:012x}")).next()).collect();
        assert!(starts.len() > 50, "{starts:?}");
    }

    #[test]
    fn a_name_says_its_number() {
        assert!(
            SMALL.numbers("x").all(|number| number_of("byhand0", &cable("byhand0", number)) == Some(number))
        );
        assert_eq!(number_of("byhand0", "byhand0-x1"), None);
        assert_eq!(number_of("byhand0", "byhand01"), None);
        assert_eq!(number_of("byhand1", "byhand10-1"), None);
    }

    #[test]
    fn names_fit() {
        assert!(cable("byhand255", 65_534).len() < nix::libc::IFNAMSIZ);
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(parse_mac("02:42:AC:1e:00:09"), Ok(mac([172, 30, 0, 9].into())));
        assert_eq!(parse_mac("02-42-ac-1e-00-09"), Ok(mac([172, 30, 0, 9].into())));
        for text in [
            "",
            "2:42:ac:1e:0:9",
            "01:42:ac:1e:00:09",
            "00:00:00:00:00:00",
            "02:42:ac:1e:00",
            "02:42:ac:1e:00:0x",
            "+2:42:ac:1e:00:09",
        ] {
            assert!(parse_mac(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_container_can_have() {
        assert_eq!(SMALL.number_of([172, 30, 0, 9].into()).unwrap(), 9);
        for last in [0, 1, 255] {
            assert!(SMALL.number_of([172, 30, 0, last].into()).is_err(), "{last}");
        }
        assert!(SMALL.number_of([172, 30, 1, 9].into()).is_err());
    }

    #[test]
    fn networks_as_they_are_written() {
        let subnet: Subnet = "10.9.0.0/16".parse().unwrap();
        assert_eq!((subnet.to_string().as_str(), subnet.gateway), ("10.9.0.0/16", [10, 9, 0, 1].into()));
        assert!(subnet.has([10, 9, 255, 255].into()) && !subnet.has([10, 10, 0, 0].into()));
        assert!(subnet.overlaps(&"10.9.8.0/24".parse().unwrap()) && !subnet.overlaps(&SMALL));
        for text in [
            "",
            "10.9.8.0",
            "10.9.8.1/24",
            "10.9.8.0/16",
            "10.9.8.0/25",
            "x/24",
            "127.0.0.0/24",
            "224.0.0.0/16",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
