//! Questions about names, and what we know ourselves: RFC 1035.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use simple_dns::rdata::{A, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};

use crate::{addresses, neighbours};

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

/// Answers a question about the network's containers, in so many bytes at most: one that needs more says that it's cut off.
pub fn answer(question: &[u8], longest: usize) -> Reply {
    const IS_ANSWER: u8 = 0x80;
    // A header has twelve bytes. Whoever answers an answer may talk with another such program for ever.
    if question.len() < 12 || question[2] & IS_ANSWER != 0 {
        return Reply::None;
    }
    let Ok(query) = Packet::parse(question) else { return Reply::Others };
    let [asked] = &query.questions[..] else { return Reply::Others };
    if query.opcode() != OPCODE::StandardQuery || asked.qclass != QCLASS::CLASS(CLASS::IN) {
        return Reply::Others;
    }
    match known(asked) {
        Ok(Some(known)) => {
            let whole = build(&query, known.code, known.records);
            let fits = whole.as_ref().is_none_or(|bytes| bytes.len() <= longest);
            let bytes = if fits { whole } else { cut_off(&query) };
            bytes.map_or(Reply::None, Reply::Ours)
        }
        Ok(None) => Reply::Others,
        Err(_) => failed(question).map_or(Reply::None, Reply::Ours),
    }
}

/// The answer to a question that nobody could be asked.
pub fn failed(question: &[u8]) -> Option<Vec<u8>> {
    build(&Packet::parse(question).ok()?, RCODE::ServerFailure, Vec::new())
}

/// What there is to say of a name: no error and no record means that it's somebody's, and has nothing of the kind that was
/// asked for. Programs ask for an IPv6 address first, and would give up at an error.
struct Known {
    code: RCODE,
    records: Vec<RData<'static>>,
}

fn known(asked: &Question<'_>) -> Result<Option<Known>> {
    let name = asked.qname.to_string();
    let asks = |kind| asked.qtype == QTYPE::TYPE(kind) || asked.qtype == QTYPE::ANY;
    let all = neighbours::all()?;
    if let Some(address) = reversed(&name).filter(|address| addresses::is_ours(*address)) {
        let Some(name) = neighbours::name_of(&all, address) else { return Ok(Some(nobody())) };
        let name = Name::new(name).with_context(|| format!("{name:?} is no name for the answer"))?;
        let records = asks(TYPE::PTR).then(|| RData::PTR(PTR(name.into_owned())));
        return Ok(Some(Known { code: RCODE::NoError, records: records.into_iter().collect() }));
    }
    let addresses = neighbours::addresses(&all, &name);
    if !addresses.is_empty() {
        let records = addresses.into_iter().filter(|_| asks(TYPE::A));
        let records = records.map(|address| RData::A(A::from(address)));
        return Ok(Some(Known { code: RCODE::NoError, records: records.collect() }));
    }
    // A name without a dot is one of a network like this, and no business of the name servers of others.
    Ok((!name.is_empty() && !name.contains('.')).then(nobody))
}

fn nobody() -> Known {
    Known { code: RCODE::NameError, records: Vec::new() }
}

/// `4.0.30.172.in-addr.arpa` is 172.30.0.4.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.to_ascii_lowercase().strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some([d, c, b, a].into())
}

fn build(query: &Packet<'_>, code: RCODE, records: Vec<RData<'_>>) -> Option<Vec<u8>> {
    let mut answer = reply_to(query, code);
    for asked in &query.questions {
        // Nobody is to keep it: names come and go.
        let of_name = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, 0, data);
        answer.answers.extend(records.iter().cloned().map(of_name));
    }
    answer.build_bytes_vec_compressed().ok()
}

/// Whoever gets this asks again by TCP.
fn cut_off(query: &Packet<'_>) -> Option<Vec<u8>> {
    let mut answer = reply_to(query, RCODE::NoError);
    answer.set_flags(PacketFlag::TRUNCATION);
    answer.build_bytes_vec_compressed().ok()
}

fn reply_to<'a>(query: &Packet<'a>, code: RCODE) -> Packet<'a> {
    let mut answer = Packet::new_reply(query.id());
    answer.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        answer.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *answer.rcode_mut() = code;
    answer.questions.clone_from(&query.questions);
    answer
}
