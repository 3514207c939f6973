//! UDP ports of the host that lead into a container.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::asker::inside;
use super::ports::needs_ipv6;
use super::world::{FAR_AWAY, UPLINK, far_away};
use super::{arrange, end, sleeper};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "port-udp",
        Network,
        "-p 9999:99/udp leads datagrams to the container and its answers back, from 127.0.0.1, ::1, and other containers.",
        local,
    ),
    Check::new(
        "port-udp-outside",
        Network,
        "Whoever sends datagrams from outside is seen with his own address, and is answered from the one that he sent to.",
        outside,
    ),
    Check::new(
        "port-udp-again",
        Network,
        "Somebody outside who goes on sending reaches the container when it was started again, at another address.",
        again,
    ),
];

const PUBLISHED: [&str; 2] = ["-p", "9999:99/udp"];

/// How long an answer may take before it's asked once more: a datagram may be lost.
const TURN: Duration = Duration::from_millis(500);

/// Somebody in a container who answers each datagram with what it said, and a word before it. Dropped, he's gone.
pub(super) struct Echo {
    senders: Arc<Mutex<Vec<(SocketAddr, String)>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(super) fn start(one: &Kept<'_>, word: &'static str) -> Result<Echo> {
        let listens = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 99)).context("listening in the container");
        let socket = inside(one.process()?, listens)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (senders, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (heard, over) = (Arc::clone(&senders), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let mut datagram = [0; 1024];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                heard.lock().unwrap_or_else(PoisonError::into_inner).push((from, text));
                let _ = socket.send_to(&[word.as_bytes(), &datagram[..length]].concat(), from); // or he asks again
            }
        });
        Ok(Echo { senders, ends, thread: Some(thread) })
    }

    /// Who has said what.
    fn senders(&self) -> Vec<(SocketAddr, String)> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic would have been printed
        }
    }
}

/// A socket that hears whoever it asks, and nobody else.
pub(super) fn asks(own: &str, address: &str) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((own, 0)).context("making a socket")?;
    socket.set_read_timeout(Some(TURN))?;
    socket.connect(address).with_context(|| format!("connecting to {address}"))?;
    Ok(socket)
}

/// What the socket hears when it has said this, a few times if need be; nothing if there's no answer.
pub(super) fn answer(socket: &UdpSocket, says: &str) -> Result<String> {
    let mut datagram = [0; 1024];
    for _ in 0..6 {
        let _ = socket.send(says.as_bytes()); // an error of the last time
        while let Ok(length) = socket.recv(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if text.ends_with(says) {
                return Ok(text); // else it's an older one, which was late
            }
        }
    }
    Ok(String::new())
}

fn local(lab: &Lab) -> Result<()> {
    needs_ipv6()?;
    let more = ["-p", "127.0.0.1:9998:99/udp", "-p", "0.0.0.0:9997:99/udp"];
    let one = lab.kept(["sleep", "1000"]).with(PUBLISHED).with(more).detach()?;
    let two = sleeper(lab)?;
    let echo = Echo::start(&one, "heard ")?;
    // An answer that comes from another address than the one that was asked is nobody's.
    let hosts = [
        ("127.0.0.1", "127.0.0.1:9999"),
        ("127.0.0.1", "127.0.0.2:9999"),
        ("::1", "[::1]:9999"),
        ("127.0.0.1", "127.0.0.1:9998"),
        ("127.0.0.1", "127.0.0.2:9997"),
    ];
    for (own, address) in hosts {
        let did = format!("{}; then a datagram to {address}", one.line());
        see::same(did, "an answer:", "heard one".to_string(), answer(&asks(own, address)?, "one")?)?;
    }
    // Two clients at once, each with his own answers; and containers, the one that publishes it among them.
    let [first, second] = [asks("127.0.0.1", "127.0.0.1:9999")?, asks("127.0.0.1", "127.0.0.1:9999")?];
    for (socket, says) in [(&first, "a"), (&second, "b"), (&first, "c"), (&second, "d")] {
        see::same(one.line(), "an answer:", format!("heard {says}"), answer(socket, says)?)?;
    }
    let sender =
        |says: &str| echo.senders().into_iter().rfind(|(_, text)| text == says).map(|(from, _)| from);
    see::same(one.line(), "two senders in the container:", true, sender("a") != sender("b"))?;
    for container in [&two, &one] {
        let socket = inside(container.process()?, || asks("0.0.0.0", "172.30.0.1:9999"))?;
        see::same(container.line(), "an answer inside:", "heard two".to_string(), answer(&socket, "two")?)?;
    }
    let lines =
        "99/udp -> 0.0.0.0:9999\n99/udp -> [::]:9999\n99/udp -> 127.0.0.1:9998\n99/udp -> 0.0.0.0:9997\n";
    lab.says("port", [one.id()], lines)?;
    one.remove()?;
    // The port is free again.
    let is_free = || Ok(UdpSocket::bind("0.0.0.0:9999").ok());
    wait_for(SOON, is_free)?.map(drop).context("nobody else can have port 9999 of UDP")
}

fn outside(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(PUBLISHED).detach()?;
    let echo = Echo::start(&one, "heard ")?;
    let ask = |ready: &dyn Fn()| {
        ready();
        answer(&asks(FAR_AWAY, &format!("{UPLINK}:9999"))?, "far")
    };
    let ((), text) = far_away(ask, || Ok(()))?;
    see::same(one.line(), "what somebody outside hears:", "heard far".to_string(), text)?;
    let seen = echo.senders().iter().all(|(from, _)| from.ip().to_string() == FAR_AWAY);
    see::same(one.line(), "to see him with his own address:", true, seen)
}

fn again(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(PUBLISHED).detach()?;
    let name = end(&one)?.address.replace("172.30.0.", "byhand0-");
    let goes_on = |ready: &dyn Fn()| -> Result<Vec<String>> {
        let socket = asks(FAR_AWAY, &format!("{UPLINK}:9999"))?;
        ready();
        let mut words = Vec::new();
        // It never stops for long enough that anybody could forget it.
        let end = Instant::now() + 3 * SOON;
        while words.last().is_none_or(|last| last != "second ") && Instant::now() < end {
            words.push(answer(&socket, "x")?.replace('x', ""));
        }
        Ok(words)
    };
    let here = || -> Result<()> {
        let first = Echo::start(&one, "first ")?;
        wait_for(SOON, || Ok((!first.senders().is_empty()).then_some(())))?.context("he isn't heard")?;
        drop(first);
        lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
        // Its address is somebody else's, so that it gets another one.
        let taken = || Ok(arrange(&["link", "add", &name, "type", "veth", "peer", "name", "other"]).ok());
        wait_for(SOON, taken)?.context("its cable stays")?;
        lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
        let second = Echo::start(&one, "second ")?;
        wait_for(SOON, || Ok((!second.senders().is_empty()).then_some(())))?;
        thread::sleep(TURN); // so that he hears it
        arrange(&["link", "delete", &name])
    };
    let ((), words) = far_away(goes_on, here)?;
    see::same(one.line(), "what he heard at last:", Some("second "), words.last().map(String::as_str))
}
