//! What nobody in his right mind sends to a resolver.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use super::asker::{Asker, RESOLVER, inside, udp_to};
use super::dns::{A, answer, question, with_length};
use super::names::{address, named};
use super::upstream::{HOME, host_has};
use crate::bench::statistics::Random;
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[Check::new(
    "name-hostile",
    Network,
    "Whatever is sent to the resolver, nonsense or silence, by UDP or TCP, it still answers the next question.",
    hostile,
)];

/// Messages that are wrong in one thing each.
fn wrong_messages() -> Vec<Vec<u8>> {
    let good = question(9, "one", A);
    let header = |questions: u8| [&good[..5], &[questions], &good[6..12]].concat();
    let with = |name: &[u8]| [&header(1), name, &[0, 1, 0, 1]].concat();
    let longest = [&[63][..], &[b'x'; 63]].concat().repeat(8);
    let mut all: Vec<_> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    all.extend([header(0), header(255), [header(2), good[12..].to_vec()].concat()]);
    // To itself, to another that leads back, to the end and beyond, into the header.
    all.extend([&[0xc0, 12][..], &[0xc0, 14, 0xc0, 12], &[0xc0, 18], &[0xff, 0xff], &[0xc0, 0]].map(with));
    // Longer than the message, of no known kind, longer than a name may be, no text.
    all.extend([&[63, b'x'][..], &[0x80, 1, 0], &longest, &[3, 0, 0xff, b'.', 0]].map(with));
    all.push(answer(&good, 0, &[(A, vec![6, 6, 6, 6])]));
    all.push([&good[..], &[0; 65_000 - 21]].concat());
    all.push([header(255), vec![0; 65_000 - 12]].concat());
    all
}

fn hostile(lab: &Lab) -> Result<()> {
    host_has(lab, HOME)?;
    let one = named(lab, "one", &[])?;
    let own = address(&one)?;
    let (place, asker) = (one.process()?, Asker::of(&one)?);
    asker.finds("one", &[&own])?;
    let socket = inside(place, || udp_to(RESOLVER, Duration::from_secs(1)))?;
    // What was sent last may be lost where too much waits; so another one is sent.
    let patient = |ask: &dyn Fn() -> Result<()>| -> Result<()> {
        match wait_for(Duration::from_secs(5), || Ok(ask().ok()))? {
            Some(()) => Ok(()),
            None => ask(),
        }
    };
    let mut chance = Random::new(0x2545_f491_4f6c_dd1d);
    let wrong = wrong_messages();
    for round in 0..60_000 {
        let mut message = wrong[round % wrong.len()].clone();
        match round / wrong.len() {
            0 => {}
            turn if turn % 8 == 7 => {
                let length = chance.below(600);
                message = (0..length).map(|_| chance.below(256) as u8).collect();
            }
            _ if message.is_empty() || message.len() > 600 => continue,
            _ => {
                let at = chance.below(message.len());
                message[at] = chance.below(256) as u8;
            }
        }
        let _ = socket.send(&message); // that nobody is there any more shows with the next question
        if round % 100 == 99 {
            patient(&|| asker.finds("one", &[&own]))?; // so that what waits doesn't get too much, and is thrown away
        }
    }
    let mut connections = Vec::new();
    for message in wrong.iter().filter(|message| message.len() < 600).chain(&wrong[..1]) {
        let lie = [&[0xff, 0xff][..], message].concat();
        for bytes in [&b""[..], &[0], &[0, 0], &lie, &with_length(message)] {
            let mut stream = asker.connects()?;
            let _ = stream.write_all(bytes); // as above
            connections.push(stream);
        }
    }
    patient(&|| asker.finds("one", &[&own]))?;
    drop(connections);
    patient(&|| {
        let (by_tcp, _) = asker.asks_by_tcp("one", A)?;
        see::same(one.line(), "records by TCP:", 1, by_tcp.records.len())
    })
}
