//! Questions and answers as DNS carries them, byte by byte: RFC 1035.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};

/// Kinds of records.
pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const MX: u16 = 15;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const HTTPS: u16 = 65;
pub(super) const CAA: u16 = 257;
/// One that means something to whoever agrees on it.
pub(super) const PRIVATE: u16 = 65_280;

/// How it went: all is well, whoever should know can't be asked, there's no such name.
pub(super) const NOERROR: u8 = 0;
pub(super) const SERVFAIL: u8 = 2;
pub(super) const NXDOMAIN: u8 = 3;

/// A question, as it's sent.
pub(super) fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // one question; whoever hears it may ask others (RD)
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// The answer to a question: these flags, and records with the question's name, each a kind and its data.
pub(super) fn answer(question: &[u8], flags: u16, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let end = Message::of(question).map_or(12, |message| message.end);
    let mut bytes = question[..2].to_vec();
    bytes.extend((0x8180 | flags).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend((records.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&question[12..end]);
    for (kind, data) in records {
        bytes.extend([0xc0, 12]); // the name is the one at byte 12
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 77]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// A question or an answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) is_answer: bool,
    /// The rest is to be had by TCP only.
    pub(super) is_cut: bool,
    pub(super) code: u8,
    /// Whom the question is about.
    pub(super) name: String,
    pub(super) records: Vec<Record>,
    /// Where the question ends.
    end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) ttl: u32,
    /// An address or a name, as text.
    pub(super) data: String,
}

impl Message {
    pub(super) fn of(bytes: &[u8]) -> Result<Message> {
        let mut reading = Reading { bytes, at: 0 };
        let (id, flags) = (reading.number()?, reading.number()?);
        let (questions, answers) = (reading.number()?, reading.number()?);
        ensure!(questions == 1, "a message with {questions} questions");
        reading.at = 12;
        let name = reading.name()?;
        reading.take(4)?;
        let end = reading.at;
        let records = (0..answers).map(|_| reading.record()).collect::<Result<_>>()?;
        let (is_answer, is_cut) = (flags & 0x8000 != 0, flags & 0x200 != 0);
        Ok(Message { id, is_answer, is_cut, code: (flags & 15) as u8, name, records, end })
    }
}

struct Reading<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reading<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at + length).context("a message that ends too early")?;
        self.at += length;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name is labels, each after its length; 192 and more says that the rest stands elsewhere.
    fn name(&mut self) -> Result<String> {
        let (mut labels, mut end) = (Vec::new(), None);
        for _ in 0..128 {
            match self.take(1)?[0] {
                0 => {
                    self.at = end.unwrap_or(self.at);
                    return Ok(labels.join("."));
                }
                length @ 1..64 => {
                    labels.push(String::from_utf8_lossy(self.take(length.into())?).into_owned());
                }
                high @ 192.. => {
                    let low = self.take(1)?[0];
                    end.get_or_insert(self.at);
                    self.at = usize::from(u16::from_be_bytes([high & 63, low]));
                }
                other => bail!("a label that begins with {other}"),
            }
        }
        bail!("a name without an end")
    }

    fn record(&mut self) -> Result<Record> {
        let (name, kind) = (self.name()?, self.number()?);
        self.take(2)?;
        let ttl = u32::from(self.number()?) << 16 | u32::from(self.number()?);
        let length = self.number()?.into();
        let end = self.at + length;
        let data = match (kind, length) {
            (A, 4) => <[u8; 4]>::try_from(self.take(4)?).map(Ipv4Addr::from)?.to_string(),
            (AAAA, 16) => <[u8; 16]>::try_from(self.take(16)?).map(Ipv6Addr::from)?.to_string(),
            (PTR, _) => self.name()?,
            _ => format!("{:?}", self.take(length)?),
        };
        ensure!(self.at == end, "a record whose length isn't that of its data");
        Ok(Record { name, kind, ttl, data })
    }
}

/// A message's length, and then the message: so it goes by TCP.
pub(super) fn with_length(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// One message that has its length before it.
pub(super) fn read_message(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The name under which an address's own name is found.
pub(super) fn reversed(address: &str) -> String {
    let numbers: Vec<_> = address.rsplit('.').collect();
    format!("{}.in-addr.arpa", numbers.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let asked = question(7, "one.example", A);
        let message = Message::of(&asked).unwrap();
        assert_eq!((message.id, message.is_answer, message.name.as_str()), (7, false, "one.example"));
        let said =
            answer(&asked, 0x200, &[(A, vec![10, 0, 0, 1]), (PTR, vec![3, b't', b'w', b'o', 0xc0, 16])]);
        let message = Message::of(&said).unwrap();
        assert!(message.is_answer && message.is_cut && message.code == 0);
        let data: Vec<_> =
            message.records.iter().map(|r| (r.name.as_str(), r.ttl, r.data.as_str())).collect();
        assert_eq!(data, [("one.example", 77, "10.0.0.1"), ("one.example", 77, "two.example")]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let said = answer(&question(7, "one", A), 0, &[(A, vec![10, 0, 0, 1])]);
        for length in 0..said.len() {
            assert!(Message::of(&said[..length]).is_err(), "{length}");
        }
        let circle = [&said[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        assert!(Message::of(&circle).is_err());
    }
}
