//! The options of `run` that are about networks, and what a record keeps of them.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Result, ensure};
use ch07_lifecycle::facts;
use ch07_lifecycle::record::Record;
use ch08_images::translation;
use clap::Parser;

use crate::bridge;
use crate::hosts::{self, Host};
use crate::neighbours::LONGEST_ALIASES;
use crate::network::Network;
use crate::ports::{Port, Ports};

/// Those that this chapter adds.
#[derive(Debug, Clone, clap::Args)]
pub struct NetworkOptions {
    /// The network that the container is on: bridge, or one of network create
    #[arg(long, visible_alias = "net", value_name = "NAME|none|host", default_value = bridge::DEFAULT)]
    network: Network,
    /// Have a port of the host lead to one of the container; may be given again
    #[arg(short, long, value_name = "[IP:][HOST-PORT:]PORT[/udp]")]
    publish: Vec<Ports>,
    /// One more name for the container on its network; may be given again
    #[arg(long, value_name = "NAME", value_parser = hosts::alias)]
    network_alias: Vec<String>,
    /// A name in the container's /etc/hosts, and its address; may be given again
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<Host>,
    /// The name server for names outside of the network, in the place of the host's; may be given again
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
}

/// Their long names. Each has a value.
const NAMES: [&str; 6] = ["--network", "--net", "--publish", "--network-alias", "--add-host", "--dns"];

/// The letter of the one that has one.
const PUBLISH: u8 = b'p';

/// Letters of options without a value, which may stand before it: `-dp 8080:80`.
const LETTERS: &[u8] = b"dit";

/// So many ports can be published. For each there's a thread, and a rule.
const MOST_PORTS: usize = 100;

/// The fact that has them.
const FACT: &str = "network";

/// For words that were taken apart once before.
#[derive(Parser)]
struct Again {
    #[command(flatten)]
    options: NetworkOptions,
}

impl NetworkOptions {
    /// What the container of this record was asked for. One from before this chapter is on no network.
    pub fn of(record: &Record) -> Result<NetworkOptions> {
        let fact = record.read_bytes(FACT)?;
        let words = fact.as_deref().map_or(vec![&b"--network=none"[..]], facts::split);
        // Without this word it would be on the bridge.
        let says_which = words.first().is_some_and(|word| word.starts_with(b"--network="));
        ensure!(says_which, "the fact {FACT:?} of container {} says no network", record.id());
        let words = words.into_iter().map(OsStr::from_bytes);
        let again = Again::try_parse_from([OsStr::new("run")].into_iter().chain(words));
        let understood = again.with_context(|| format!("the fact {FACT:?} of container {}", record.id()));
        Ok(understood?.options)
    }

    /// The network that was asked for.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The ports that are to be published.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.publish.iter().flat_map(|Ports(ports)| ports)
    }

    /// The names that the container has besides its own.
    pub fn aliases(&self) -> &[String] {
        &self.network_alias
    }

    /// The names that it is to know.
    pub fn hosts(&self) -> &[Host] {
        &self.add_host
    }

    /// The name servers that it's to ask.
    pub fn dns(&self) -> &[IpAddr] {
        &self.dns
    }

    /// Fails if they contradict each other.
    pub fn ensure_sound(&self) -> Result<()> {
        let (has_address, name) = (matches!(self.network, Network::Named(_)), self.network.name());
        ensure!(
            has_address || self.publish.is_empty(),
            "--publish: a container on the network {name} has no port of its own to lead to"
        );
        ensure!(
            has_address || self.network_alias.is_empty(),
            "--network-alias: nobody asks for a container on the network {name}"
        );
        ensure!(self.ports().count() <= MOST_PORTS, "--publish: {MOST_PORTS} ports at most");
        let aliases: usize = self.network_alias.iter().map(|alias| alias.len() + 1).sum();
        ensure!(
            aliases <= LONGEST_ALIASES,
            "--network-alias: all of them have {LONGEST_ALIASES} letters at most"
        );
        Ok(())
    }

    /// What a new record is to keep of them: the words that say it again.
    pub fn fact(&self) -> (&'static str, Vec<u8>) {
        let mut words = vec![format!("--network={}", self.network.name())];
        words.extend(self.ports().map(|port| format!("--publish={port}")));
        words.extend(self.network_alias.iter().map(|alias| format!("--network-alias={alias}")));
        words.extend(self.add_host.iter().map(|host| format!("--add-host={host}")));
        words.extend(self.dns.iter().map(|server| format!("--dns={server}")));
        (FACT, facts::join(words.iter().map(|word| word.as_bytes())))
    }
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
