//! What the containers' resolver doesn't know itself: it asks those whom the host asks.

use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::asker::Asker;
use super::dns::{
    A, AAAA, Message, NOERROR, NXDOMAIN, PRIVATE, PTR, SERVFAIL, TXT, answer, question, read_message,
    reversed, with_length,
};
use super::names::{address, named};
use super::upstream::{Asked, HOME, Upstream, host_has, usual};
use super::{NETWORK, sleeper};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "name-forwarded",
        Network,
        "Names with a dot are asked of the host's nameservers, those that its resolv.conf has at that moment.",
        forwarded,
    ),
    Check::new(
        "name-dns-option",
        Network,
        "--dns ADDRESS says whom to ask in place of the host's nameservers: one after the other until one can be reached.",
        dns_option,
    ),
    Check::new(
        "name-stays-home",
        Network,
        "A name without a dot that no container has is unknown, and nobody outside is asked for it.",
        stays_home,
    ),
    Check::new(
        "name-nobody-answers",
        Network,
        "Where no nameserver can be reached, the answer is at once that it failed.",
        nobody_answers,
    ),
    Check::new(
        "name-tcp",
        Network,
        "An answer that is cut off arrives so, and by TCP the whole; whoever asks by TCP is answered and forwarded by TCP.",
        by_tcp,
    ),
    Check::new(
        "name-slow-upstream",
        Network,
        "While a nameserver does not answer one question, others are answered at once.",
        slow_upstream,
    ),
    Check::new(
        "name-lies",
        Network,
        "An answer that is not one to the question is not passed on; the right one that follows is.",
        lies,
    ),
];

/// Another address than the usual one.
fn other(asked: &Asked<'_>) -> Vec<Vec<u8>> {
    vec![asked.has([10, 2, 2, 2])]
}

fn forwarded(lab: &Lab) -> Result<()> {
    let file = host_has(lab, HOME)?;
    let upstream = Upstream::at("127.0.0.1", usual)?;
    let _other = Upstream::at("127.0.0.3", other)?;
    let one = named(lab, "one", &[])?;
    let asker = Asker::of(&one)?;
    asker.hears("a.example", A, NOERROR, &["10.1.1.1"])?;
    see::same(
        one.line(),
        "what the host's nameserver heard:",
        vec!["a.example".to_string()],
        upstream.heard(),
    )?;
    fs::write(file, "# another\nsearch example\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n")?;
    asker.hears("b.example", A, NOERROR, &["10.2.2.2"])?;
    asker.finds("one", &[&address(&one)?])
}

fn dns_option(lab: &Lab) -> Result<()> {
    host_has(lab, "nameserver 127.0.0.3\n")?;
    let (_asked, others) = (Upstream::at("127.0.0.1", usual)?, Upstream::at("127.0.0.3", other)?);
    let one = lab.kept(["sleep", "1000"]).with(["--dns", "127.0.0.2", "--dns=127.0.0.1"]).detach()?;
    let asks = || Asker::of(&one)?.hears("a.example", A, NOERROR, &["10.1.1.1"]);
    asks()?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    asks()?;
    see::same(one.line(), "what the host's own nameserver heard:", Vec::new(), others.heard())
}

fn stays_home(lab: &Lab) -> Result<()> {
    host_has(lab, HOME)?;
    let upstream = Upstream::at("127.0.0.1", usual)?;
    let one = named(lab, "one", &[])?;
    let own = address(&one)?;
    let asker = Asker::of(&one)?;
    for name in ["unknown", "UNKNOWN", "wpad"] {
        asker.hears(name, A, NXDOMAIN, &[])?;
        asker.hears(name, AAAA, NXDOMAIN, &[])?;
        let (by_tcp, _) = asker.asks_by_tcp(name, A)?;
        see::same(one.line(), "the answer's code by TCP:", NXDOMAIN, by_tcp.code)?;
    }
    let unused = if own.ends_with(".77") { 78 } else { 77 };
    asker.hears(&reversed(&format!("{NETWORK}{unused}")), PTR, NXDOMAIN, &[])?;
    // With what newer programs say of themselves (EDNS), and of a kind or a class that hardly anybody asks for.
    let mut newer = question(21, "unknown", A);
    newer[11] = 1;
    newer.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let mut chaos = question(22, "unknown", A);
    chaos.splice(chaos.len() - 2.., [0, 3]);
    for bytes in [newer, chaos, question(23, "unknown", PRIVATE)] {
        asker.socket.send(&bytes).context("asking in another way")?;
    }
    asker.hears("unknown", A, NXDOMAIN, &[])?;
    asker.hears("one", AAAA, NOERROR, &[])?;
    asker.hears("known.example", A, NOERROR, &["10.1.1.1"])?; // it hears what is not for home
    let heard = upstream.heard();
    see::same(one.line(), "what the host's nameserver heard:", vec!["known.example".to_string()], heard)
}

/// Fails if it takes so long that somebody has been waited for.
fn at_once(one: &Kept<'_>, what: &str, asks: impl FnOnce() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    asks()?;
    let took = began.elapsed();
    if took <= Duration::from_secs(2) { Ok(()) } else { Err(one.differs(what, format!("{took:?}"))) }
}

fn nobody_answers(lab: &Lab) -> Result<()> {
    // Nobody listens there; no way leads there; there is none.
    let file = host_has(lab, HOME)?;
    let one = sleeper(lab)?;
    let asker = Asker::of(&one)?;
    for text in [HOME, "nameserver 10.98.0.1\n", "nameserver 127.0.0.1\nnameserver 10.98.0.1\n", "# none\n"] {
        fs::write(&file, text)?;
        at_once(&one, &format!("two answers at once, with a resolv.conf of {text}"), || {
            asker.hears("a.example", A, SERVFAIL, &[])?;
            let (by_tcp, _) = asker.asks_by_tcp("a.example", A)?;
            see::same(one.line(), "the answer's code by TCP:", SERVFAIL, by_tcp.code)
        })?;
    }
    Ok(())
}

/// By UDP it's cut off; by TCP it has 20,000 bytes.
fn long(asked: &Asked<'_>) -> Vec<Vec<u8>> {
    if !asked.by_tcp {
        return vec![answer(asked.bytes, 0x200, &[])];
    }
    let line = [&[200][..], &[b'x'; 200]].concat();
    vec![answer(asked.bytes, 0, &vec![(TXT, line); 94])]
}

fn by_tcp(lab: &Lab) -> Result<()> {
    host_has(lab, HOME)?;
    let upstream = Upstream::at("127.0.0.1", long)?;
    let one = named(lab, "one", &[])?;
    let asker = Asker::of(&one)?;
    let cut = asker.asks("long.example", TXT)?;
    see::same(
        one.line(),
        "by UDP, the answer to be cut off, without records:",
        (true, 0),
        (cut.is_cut, cut.records.len()),
    )?;
    let (_, bytes) = asker.asks_by_tcp("long.example", TXT)?;
    let asked = question(0, "long.example", TXT);
    let whole = long(&Asked { bytes: &asked, name: "long.example", by_tcp: true }).concat();
    see::same(one.line(), "by TCP, the whole answer:", true, bytes[2..] == whole[2..])?;
    let heard = vec!["long.example".to_string(), "long.example by TCP".to_string()];
    see::same(one.line(), "what the host's nameserver heard:", heard, upstream.heard())?;

    // Nothing says that a message comes in one piece.
    let mut stream = asker.connects()?;
    for part in with_length(&question(7, "one", A)).chunks(5) {
        stream.write_all(part)?;
        sleep(Duration::from_millis(10));
    }
    let known = Message::of(&read_message(&mut stream)?)?;
    let data: Vec<_> = known.records.into_iter().map(|record| record.data).collect();
    see::same(one.line(), "its address by TCP:", vec![address(&one)?], data)
}

/// Whom it doesn't like hears nothing.
fn slow(asked: &Asked<'_>) -> Vec<Vec<u8>> {
    if asked.name.starts_with("slow") { Vec::new() } else { usual(asked) }
}

fn slow_upstream(lab: &Lab) -> Result<()> {
    host_has(lab, HOME)?;
    let upstream = Upstream::at("127.0.0.1", slow)?;
    let one = named(lab, "one", &[])?;
    let own = address(&one)?;
    let asker = Asker::of(&one)?;
    for number in 0..20 {
        asker.sends(&format!("slow-{number}.example"), A)?;
    }
    let heard = wait_for(SOON, || Ok((upstream.heard().len() >= 20).then_some(())))?;
    heard.context("the nameserver does not hear twenty questions")?;
    at_once(&one, "answers at once, while a nameserver is silent about others", || {
        asker.finds("one", &[&own])?;
        asker.hears("fast.example", A, NOERROR, &["10.1.1.1"])?;
        asker.asks_by_tcp("one", A).map(drop)
    })
}

/// Somebody else's answers, and then the right one.
fn lying(asked: &Asked<'_>) -> Vec<Vec<u8>> {
    let right = asked.has([10, 1, 1, 1]);
    let mut all = Vec::new();
    for bit in [1, 0x80, 0xff] {
        for place in [0, 1] {
            let mut wrong = asked.has([6, 6, 6, 6]);
            wrong[place] ^= bit;
            all.push(wrong);
        }
    }
    all.extend([Vec::new(), right[..1].to_vec(), right]);
    all
}

fn lies(lab: &Lab) -> Result<()> {
    host_has(lab, HOME)?;
    let _upstream = Upstream::at("127.0.0.1", lying)?;
    let one = sleeper(lab)?;
    let asker = Asker::of(&one)?;
    (0..10).try_for_each(|number| asker.hears(&format!("{number}.example"), A, NOERROR, &["10.1.1.1"]))
}
