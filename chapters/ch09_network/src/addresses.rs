//! The network's addresses, and what is made of them: RFC 1918.

use std::net::Ipv4Addr;

use crate::links::Mac;

/// The bridge, which the network is called by on the host.
pub const BRIDGE: &str = "byhand0";

/// How many of an address's bits are the network's.
pub const PREFIX: u8 = 24;

/// The host's own address in the network, where its containers send what is for elsewhere.
pub const GATEWAY: Ipv4Addr = address(1);

/// What can be given to a container: 0 is the network itself, 1 the host, and 255 is everybody.
const FIRST: u8 = 2;
const LAST: u8 = 254;

/// The network's address of this number: one of those for private use.
pub const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, number)
}

/// All numbers that can be a container's, from one on that depends on its id: who starts at the same time hardly ever wants
/// the same one.
pub fn numbers(id: &str) -> impl Iterator<Item = u8> {
    let all = u32::from(LAST - FIRST) + 1;
    let start = id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % all;
    (0..all).map(move |step| FIRST + ((start + step) % all) as u8)
}

/// Whether an address is one of the network's.
pub fn is_ours(other: Ipv4Addr) -> bool {
    let [_, _, _, number] = other.octets();
    address(number) == other
}

/// How the cable of this number is called.
pub fn cable(number: u8) -> String {
    format!("{BRIDGE}-{number}")
}

/// The number of the cable that is called so.
pub fn number_of(cable: &str) -> Option<u8> {
    cable.strip_prefix(BRIDGE)?.strip_prefix('-')?.parse().ok()
}

/// The hardware address that belongs to an address, always the same one. Others remember which one they've seen, and would
/// send to a container that's gone for as long. The second bit of the first byte says that no factory has chosen it.
pub fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_number_comes_once() {
        for id in ["", "0123456789ab", "ffffffffffff", "a"] {
            let all: Vec<_> = numbers(id).collect();
            assert_eq!(all.len(), 253, "{id}");
            assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (2..=254).collect(), "{id}");
        }
    }

    #[test]
    fn not_all_begin_at_the_same() {
        let starts: BTreeSet<_> = (0..100).filter_map(|n| numbers(&format!("{n:012x}")).next()).collect();
        assert!(starts.len() > 50, "{starts:?}");
    }

    #[test]
    fn a_name_says_its_number() {
        assert!(numbers("x").all(|number| number_of(&cable(number)) == Some(number)));
        assert_eq!(number_of("byhand0-x1"), None);
        assert_eq!(number_of("byhand01"), None);
    }

    #[test]
    fn what_is_ours() {
        assert!(is_ours(GATEWAY) && is_ours(address(254)));
        assert!(!is_ours([172, 30, 1, 1].into()) && !is_ours([127, 0, 0, 1].into()));
    }

    #[test]
    fn names_fit() {
        assert!(numbers("x").all(|number| cable(number).len() < nix::libc::IFNAMSIZ));
    }
}
