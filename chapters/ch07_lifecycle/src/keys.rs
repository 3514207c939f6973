//! What is typed at a client, and the two keys among it with which one leaves. read(2).

use std::io::stdin;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::read;

use crate::wire::Wish;

/// The keys with which one leaves a container that goes on: Ctrl-P, Ctrl-Q.
const LEAVING: [u8; 2] = [16, 17];

/// At most so many at once.
const AT_ONCE: usize = 4096;

/// The keys of one client.
#[derive(Debug)]
pub struct Keys {
    may_come: bool,
    /// The first of those with which one leaves has been typed.
    leaving: bool,
}

impl Keys {
    /// Of one who types, or doesn't.
    pub fn new(may_come: bool) -> Keys {
        Keys { may_come, leaving: false }
    }

    /// Whether there can be more of them.
    pub fn may_come(&self) -> bool {
        self.may_come
    }

    /// From now on nothing is read.
    pub fn end(&mut self) {
        self.may_come = false;
    }

    /// Reads what is typed. Only at a raw terminal can one leave by keys.
    pub fn read(&mut self, is_raw: bool) -> Result<Vec<Wish>> {
        let mut bytes = [0; AT_ONCE];
        match read(stdin(), &mut bytes) {
            Ok(0) | Err(Errno::EIO) if is_raw => bail!("the terminal has hung up"),
            Ok(0) | Err(Errno::EIO) => {
                self.end();
                Ok(vec![Wish::EndOfKeys])
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(Vec::new()),
            read => {
                let keys = &bytes[..read.context("reading what is typed")?];
                Ok(if is_raw { self.take(keys) } else { vec![Wish::Keys(keys.to_vec())] })
            }
        }
    }

    /// What these keys mean. The first of the two waits for the next key: it's for the container, unless that is the second.
    fn take(&mut self, keys: &[u8]) -> Vec<Wish> {
        let mut typed = Vec::new();
        for key in keys {
            if self.leaving && *key == LEAVING[1] {
                return vec![Wish::Keys(typed), Wish::Leave];
            }
            if self.leaving {
                typed.push(LEAVING[0]);
            }
            self.leaving = *key == LEAVING[0];
            if !self.leaving {
                typed.push(*key);
            }
        }
        if typed.is_empty() { Vec::new() } else { vec![Wish::Keys(typed)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the container gets of keys that come in these pieces, and whether they leave it.
    fn typed(pieces: &[&str]) -> (String, bool) {
        let mut keys = Keys::new(true);
        let (mut given, mut leaves) = (Vec::new(), false);
        for wish in pieces.iter().flat_map(|piece| keys.take(piece.as_bytes())) {
            match wish {
                Wish::Keys(keys) => given.extend(keys),
                _ => leaves = true,
            }
        }
        (String::from_utf8(given).unwrap(), leaves)
    }

    #[test]
    fn the_first_key_waits_for_the_second() {
        for (pieces, given, leaves) in [
            (&["ls\r"][..], "ls\r", false),
            (&["\x10"], "", false),
            (&["\x10", "\x10"], "\x10", false),
            (&["a\x10b"], "a\x10b", false),
            (&["a\x10\x11b"], "a", true),
            (&["a", "\x10", "\x11"], "a", true),
            (&["\x10\x10", "\x11"], "\x10", true),
            (&["\x11\x10", "a\x11"], "\x11\x10a\x11", false),
        ] {
            assert_eq!(typed(pieces), (given.to_string(), leaves), "{pieces:?}");
        }
    }
}
