//! Questions about names, and what we know ourselves: RFC 1035.
//!
//! A packet is a header of twelve bytes, a question, and records. A name in there is a list of parts, each with its
//! length before it, and ends with a length of 0. Whoever answers copies the question as it is, so all that we have to
//! read is a name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::bridge::Bridge;
use crate::ipv6;
use crate::neighbours::{self, Around};

/// Identifier, flags, and how many there are of questions, answers, and two more kinds.
const HEADER: usize = 12;

// The flags, in two bytes.
const IS_ANSWER: u16 = 0x8000;
const KIND_OF_QUESTION: u16 = 0x7800;
const CUT_OFF: u16 = 0x0200;
const ASK_OTHERS: u16 = 0x0100;
const CAN_ASK_OTHERS: u16 = 0x0080;

/// What the last four of them say of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Fine = 0,
    NotUnderstood = 1,
    Failed = 2,
    NoSuchName = 3,
    NotDone = 4,
}

// Kinds of records, and their class, which is always the Internet.
const ADDRESS: u16 = 1;
const LONG_ADDRESS: u16 = 28; // of IPv6
const CHANGES: u16 = 251;
const WHOLE_ZONE: u16 = 252;
const NAME: u16 = 12;
const INTERNET: u16 = 1;
const ANY: u16 = 255;

/// What is to become of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// This is the answer.
    Ours(Vec<u8>),
    /// Others may know.
    Others,
    /// It's no question.
    None,
}

/// A question that was understood.
struct Asked {
    name: String,
    kind: u16,
    class: u16,
    /// Where it ends in its packet.
    end: usize,
}

/// What there is to say of a name: no error and no record means that it's somebody's, and has nothing of the kind that
/// was asked for. Programs ask for an IPv6 address first, and would give up at an error.
struct Known {
    code: Code,
    /// The records, all of one kind.
    kind: u16,
    records: Vec<Vec<u8>>,
}

/// Answers a question about the containers around the one of this id, in so many bytes at most: an answer that needs
/// more says that it's cut off.
pub fn answer(packet: &[u8], longest: usize, id: &str) -> Reply {
    // Whoever answers an answer may talk with another such program for ever.
    let Some(flags) = number(packet, 2).filter(|flags| packet.len() >= HEADER && flags & IS_ANSWER == 0)
    else {
        return Reply::None;
    };
    // Some of what can be asked besides, a name server does for its own machine only, and we are that.
    let is_more = |asked: &Asked| [CHANGES, WHOLE_ZONE].contains(&asked.kind);
    if flags & KIND_OF_QUESTION != 0 || understand(packet).as_ref().is_some_and(is_more) {
        return Reply::Ours(say(packet, HEADER, Code::NotDone));
    }
    let Some(asked) = understand(packet) else {
        return Reply::Ours(say(packet, HEADER, Code::NotUnderstood));
    };
    if let Some(known) = localhost(&asked) {
        return Reply::Ours(build(packet, &asked, &known, longest));
    }
    let Ok(around) = list(id) else { return Reply::Ours(failed(packet)) };
    match known(&asked, &around) {
        Some(known) => Reply::Ours(build(packet, &asked, &known, longest)),
        None if around.iter().any(|network| !network.bridge.is_internal) => Reply::Others,
        // By its questions somebody could carry out what is not to leave.
        None => Reply::Ours(failed(packet)),
    }
}

/// The answer to a question that nobody could be asked.
pub fn failed(packet: &[u8]) -> Vec<u8> {
    say(packet, understand(packet).map_or(HEADER, |asked| asked.end), Code::Failed)
}

/// Reads the one question of a packet.
fn understand(packet: &[u8]) -> Option<Asked> {
    const LONGEST: usize = 63; // higher numbers are pointers, for those that come later in a packet
    const LONGEST_NAME: usize = 255;
    if number(packet, 4)? != 1 {
        return None;
    }
    let (mut at, mut parts) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let part = packet.get(at..at + length).filter(|_| length <= LONGEST)?;
        parts.push(String::from_utf8_lossy(part));
        at += length;
    }
    if at > HEADER + LONGEST_NAME {
        return None;
    }
    Some(Asked {
        name: parts.join("."),
        kind: number(packet, at)?,
        class: number(packet, at + 2)?,
        end: at + 4,
    })
}

/// Two bytes, in the network's order.
fn number(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

impl Asked {
    /// Whether records of this kind are wanted.
    fn wants(&self, kind: u16) -> bool {
        [kind, ANY].contains(&self.kind) && [INTERNET, ANY].contains(&self.class)
    }
}

fn localhost(asked: &Asked) -> Option<Known> {
    if !asked.name.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let (kind, address) = match asked.kind {
        LONG_ADDRESS => (LONG_ADDRESS, Ipv6Addr::LOCALHOST.octets().to_vec()),
        _ => (ADDRESS, Ipv4Addr::LOCALHOST.octets().to_vec()),
    };
    let records = if asked.wants(kind) { vec![address] } else { Vec::new() };
    Some(Known { code: Code::Fine, kind, records })
}

fn known(asked: &Asked, around: &[Around]) -> Option<Known> {
    if let Some((network, address)) =
        around.iter().find_map(|network| Some((network, meant(&asked.name, &network.bridge)?)))
    {
        let can_be_said = |name: &&str| name.split('.').all(|part| (1..=63).contains(&part.len()));
        let name = neighbours::name_of(&network.all, address).filter(can_be_said);
        let Some(name) = name else { return Some(nobody()) };
        let records = if asked.wants(NAME) { vec![written(name)] } else { Vec::new() };
        return Some(Known { code: Code::Fine, kind: NAME, records });
    }
    // On two networks a name can be two containers'. The first network's is meant.
    let mut found =
        around.iter().map(|network| (network.bridge.ipv6, neighbours::addresses(&network.all, &asked.name)));
    if let Some((ipv6, addresses)) = found.find(|(_, addresses)| !addresses.is_empty()) {
        let addresses = addresses.into_iter();
        let (kind, records): (_, Vec<_>) = match ipv6.filter(|_| asked.kind == LONG_ADDRESS) {
            Some(ipv6) => (LONG_ADDRESS, addresses.map(|ip| ipv6.address(ip).octets().to_vec()).collect()),
            None => (ADDRESS, addresses.map(|ip| ip.octets().to_vec()).collect()),
        };
        let records = if asked.wants(kind) { records } else { Vec::new() };
        return Some(Known { code: Code::Fine, kind, records });
    }
    // A name without a dot is one of a network like these, and no business of the name servers of others.
    (!asked.name.is_empty() && !asked.name.contains('.')).then(nobody)
}

/// The kernel has one lock for all that is asked about its interfaces. Only one of our threads at a time stands in line
/// for it.
fn list(id: &str) -> Result<Vec<Around>> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    neighbours::around(id)
}

fn nobody() -> Known {
    Known { code: Code::NoSuchName, kind: NAME, records: Vec::new() }
}

/// Which address of this network a name in the domain of addresses stands for.
fn meant(name: &str, bridge: &Bridge) -> Option<Ipv4Addr> {
    let name = name.to_ascii_lowercase();
    let ipv4 = reversed(&name).filter(|ip| bridge.subnet.has(*ip));
    ipv4.or_else(|| {
        let (prefix, made) = (bridge.ipv6?, ipv6::reversed(&name)?);
        // One that isn't made of any is nobody's, as 0.0.0.0 is, and no business of others either.
        prefix.has(made).then(|| prefix.ipv4(made).unwrap_or(Ipv4Addr::UNSPECIFIED))
    })
}

/// `4.0.30.172.in-addr.arpa` is 172.30.0.4.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some([d, c, b, a].into())
}

/// A name as it stands in a packet.
fn written(name: &str) -> Vec<u8> {
    let parts = name.split('.').flat_map(|part| [&[part.len() as u8], part.as_bytes()].concat());
    parts.chain([0]).collect()
}

/// An answer without records. It repeats the packet's question, which ends there.
fn say(packet: &[u8], end: usize, code: Code) -> Vec<u8> {
    let flags = number(packet, 2).unwrap_or_default() & (KIND_OF_QUESTION | ASK_OTHERS);
    let flags = flags | IS_ANSWER | CAN_ASK_OTHERS | code as u16;
    let questions = u16::from(end > HEADER);
    let counts = [questions, 0, 0, 0].map(u16::to_be_bytes).concat();
    [&packet[..2], &flags.to_be_bytes(), &counts, &packet[HEADER..end]].concat()
}

/// An answer with records: all that fit.
fn build(packet: &[u8], asked: &Asked, known: &Known, longest: usize) -> Vec<u8> {
    let mut answer = say(packet, asked.end, known.code);
    for (count, record) in (1_u16..).zip(&known.records) {
        // The name is where the header ends. Nobody is to keep the record: names come and go.
        let name = 0xc000 | HEADER as u16;
        let fields = [name, known.kind, INTERNET, 0, 0, record.len() as u16];
        let bytes = [fields.map(u16::to_be_bytes).concat(), record.clone()].concat();
        if answer.len() + bytes.len() > longest {
            answer[2] |= (CUT_OFF >> 8) as u8; // whoever sees that asks again by TCP
            break;
        }
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer.extend(bytes);
    }
    answer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let header = [7, ASK_OTHERS, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        [header, written(name), [kind, INTERNET].map(u16::to_be_bytes).concat()].concat()
    }

    #[test]
    fn a_question_is_understood() {
        let packet = question("Web.example", 28);
        let asked = understand(&packet).unwrap();
        assert_eq!((asked.name.as_str(), asked.kind, asked.end), ("Web.example", 28, packet.len()));
        assert_eq!(understand(&question("", 2)).unwrap().name, "");
        assert_eq!(reversed("4.0.30.172.in-addr.arpa"), Some([172, 30, 0, 4].into()));
        for length in 0..packet.len() {
            assert!(understand(&packet[..length]).is_none(), "{length}");
        }
        let mut pointer = packet;
        pointer[HEADER] = 0xc0;
        assert!(understand(&pointer).is_none());
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let packet = question("db", ADDRESS);
        let asked = understand(&packet).unwrap();
        let known = Known { code: Code::Fine, kind: ADDRESS, records: vec![vec![172, 30, 0, 9]; 40] };
        let whole = build(&packet, &asked, &known, 65_535);
        assert_eq!((number(&whole, 6), whole.len()), (Some(40), packet.len() + 40 * 16));
        let cut = build(&packet, &asked, &known, 512);
        assert_eq!((number(&cut, 6), cut.len()), (Some(30), packet.len() + 30 * 16));
        assert_eq!(number(&cut, 2), Some(IS_ANSWER | CUT_OFF | ASK_OTHERS | CAN_ASK_OTHERS));
    }

    proptest! {
        #[test]
        fn bytes_of_strangers(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(asked) = understand(&packet) {
                assert!(asked.end <= packet.len());
                assert_eq!(failed(&packet)[HEADER..], packet[HEADER..asked.end]);
            }
            if packet.len() >= HEADER {
                assert!(failed(&packet).len() >= HEADER);
            }
        }
    }
}
