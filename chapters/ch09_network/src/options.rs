//! The options of `run` that are about networks, and what a record keeps of them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Error, Result, ensure};
use ch07_lifecycle::record::Record;
use ch08_images::translation;

use crate::network::Network;
use crate::ports::Port;

/// Those that this chapter adds.
#[derive(Debug, Clone, clap::Args)]
pub struct NetworkOptions {
    /// The network that the container is on
    #[arg(long, visible_alias = "net", value_name = "bridge|none|host", default_value = "bridge")]
    network: Network,
    /// Have a port of the host lead to one of the container; may be given again
    #[arg(short, long, value_name = "[IP:][HOST-PORT:]PORT")]
    publish: Vec<Port>,
}

/// Their long names. Each has a value.
const NAMES: [&str; 3] = ["--network", "--net", "--publish"];

/// The letter of the one that has one.
const PUBLISH: u8 = b'p';

/// Letters of options without a value, which may stand before it: `-dp 8080:80`.
const LETTERS: &[u8] = b"dit";

/// The facts: which network it is, and which ports are published. Containers from before this chapter have neither.
const NETWORK: &str = "network";
const PORTS: &str = "ports";

impl NetworkOptions {
    /// The network that was asked for.
    pub fn network(&self) -> Network {
        self.network
    }

    /// What a new record is to keep of them. Fails if they contradict each other.
    pub fn facts(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let has_address = self.network == Network::Bridge;
        ensure!(
            has_address || self.publish.is_empty(),
            "--publish: a container on the network {} has no port of its own to lead to",
            self.network.name()
        );
        let ports: String = self.publish.iter().map(|port| format!("{port}\n")).collect();
        let facts = [(NETWORK, format!("{}\n", self.network.name())), (PORTS, ports)];
        Ok(facts.map(|(name, text)| (name, text.into_bytes())).to_vec())
    }
}

/// The network that the container of this record was made for.
pub fn network(record: &Record) -> Result<Network> {
    let name = record.read(NETWORK)?;
    let network = name.map_or(Ok(Network::None), |name| name.parse());
    network.map_err(Error::msg).with_context(|| format!("the fact \"network\" of container {}", record.id()))
}

/// The ports that it publishes.
pub fn ports(record: &Record) -> Result<Vec<Port>> {
    let lines = record.read(PORTS)?.unwrap_or_default();
    let ports: Result<_, _> = lines.lines().map(str::parse).collect();
    ports.map_err(Error::msg).with_context(|| format!("the fact \"ports\" of container {}", record.id()))
}

/// What was `typed` without these options, for those that don't know them.
pub fn without_ours(typed: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = translation::without(&NAMES, typed).into_iter();
    while let Some(word) = words.next() {
        let letters =
            word.as_bytes().strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-")).unwrap_or_default();
        let before = letters.iter().take_while(|letter| LETTERS.contains(letter)).count();
        match letters.get(before) {
            Some(&PUBLISH) => {
                if letters.len() == before + 1 {
                    words.next(); // its value
                }
                if before > 0 {
                    kept.push(OsString::from_vec(word.as_bytes()[..=before].to_vec()));
                }
            }
            _ => kept.push(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_are_taken_out() {
        let all = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for (typed, kept) in [
            (&["-d", "-p", "80", "-i"][..], &["-d", "-i"][..]),
            (&["-dp", "8080:80", "-m", "1g"], &["-d", "-m", "1g"]),
            (&["-itp80", "--net", "none", "--rm"], &["-it", "--rm"]),
            (&["--publish=80", "-p80", "--network=host"], &[]),
            (
                &["-e", "p=1", "-vp:/p", "-w", "/p", "--pull=never"],
                &["-e", "p=1", "-vp:/p", "-w", "/p", "--pull=never"],
            ),
            (&["-p=80", "--privileged"], &["--privileged"]),
        ] {
            assert_eq!(without_ours(&all(typed)), all(kept), "{typed:?}");
        }
    }
}
