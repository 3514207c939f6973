//! The options of `run` that are about networks, and what a record keeps of them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Result, ensure};
use ch07_lifecycle::facts;
use ch07_lifecycle::record::Record;
use ch08_images::translation;
use clap::Parser;

use crate::endpoint::Endpoint;
use crate::hosts::{self, Host};
use crate::links::Mac;
use crate::network::Network;
use crate::ports::{Exposed, Port, Ports};
use crate::{addresses, bridge};

/// Those that this chapter adds.
#[derive(Debug, Clone, clap::Args)]
pub struct NetworkOptions {
    /// A network that the container is on: bridge, or one of network create; may be given again
    #[arg(long, visible_alias = "net", value_name = "NAME|none|host|container:NAME", default_value = bridge::DEFAULT)]
    network: Vec<Endpoint>,
    /// The container's address on its first network
    #[arg(long, value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// The hardware address of its first interface
    #[arg(long, value_name = "MAC", value_parser = addresses::parse_mac)]
    mac_address: Option<Mac>,
    /// Have a port of the host lead to one of the container; may be given again
    #[arg(short, long, value_name = "[IP:][HOST-PORT:]PORT[/udp]")]
    publish: Vec<Ports>,
    /// Have free ports of the host lead to all that are exposed
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Say that the container serves a port; may be given again
    #[arg(long, value_name = "PORT[/udp]")]
    expose: Vec<Exposed>,
    /// One more name for the container on its first network; may be given again
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
const NAMES: [&str; 9] = [
    "--network",
    "--net",
    "--ip",
    "--mac-address",
    "--publish",
    "--expose",
    "--network-alias",
    "--add-host",
    "--dns",
];

/// The one that hasn't.
const PUBLISH_ALL: (&str, u8) = ("--publish-all", b'P');

/// The letter of the one with a value that has one.
const PUBLISH: u8 = b'p';

/// Letters of options without a value, which may stand before it: `-dp 8080:80`.
const LETTERS: &[u8] = b"ditP";

/// So many ports can be published. For each there's a thread, and a rule.
const MOST_PORTS: usize = 100;

/// In the fact, before a port.
const EXPOSE: &str = "--expose=";

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

    /// The first network that was asked for.
    pub fn network(&self) -> &Network {
        self.network.first().map_or(&Network::Nowhere, |first| &first.network)
    }

    /// What was asked for on each network.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut all = self.network.clone();
        all.retain(|endpoint| endpoint.network != Network::Nowhere);
        if let Some(first) = all.first_mut() {
            first.aliases.extend_from_slice(&self.network_alias);
            first.ip = self.ip.or(first.ip);
            first.mac = self.mac_address.or(first.mac);
        }
        all
    }

    /// The same, but it's on these networks.
    pub fn with_endpoints(&self, endpoints: Vec<Endpoint>) -> NetworkOptions {
        let none = NetworkOptions { network_alias: Vec::new(), ip: None, mac_address: None, ..self.clone() };
        NetworkOptions { network: endpoints, ..none }
    }

    /// The same, but it's on this network, of which nothing else is said.
    pub fn with_network(&self, network: Network) -> NetworkOptions {
        self.with_endpoints(vec![Endpoint::on(network)])
    }

    /// What a container knows that shares the network of another one, of which these are the options: the same name
    /// servers, and its own names.
    pub fn as_on(&self, other: &NetworkOptions) -> NetworkOptions {
        NetworkOptions { add_host: self.add_host.clone(), ..other.clone() }
    }

    /// The same, but these ports of the image's are exposed, too.
    pub fn with_exposed(&self, ports: impl Iterator<Item = Exposed>) -> NetworkOptions {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        for port in self.expose.iter().cloned().chain(ports).flat_map(|Exposed(ports)| ports) {
            if seen.insert((port.protocol, port.inside)) {
                all.push(port);
            }
        }
        NetworkOptions { expose: vec![Exposed(all)], ..self.clone() }
    }

    /// The ports that are to be published.
    pub fn ports(&self) -> Vec<Port> {
        let mut ports: Vec<_> = self.publish.iter().flat_map(|Ports(ports)| ports).copied().collect();
        let published: BTreeSet<_> = ports.iter().map(|port| (port.protocol, port.inside)).collect();
        let others = self.exposed().filter(|port| !published.contains(&(port.protocol, port.inside)));
        ports.extend(others.filter(|_| self.publish_all));
        ports
    }

    /// The ports that the container serves, each as it is if a free one of the host leads there.
    pub fn exposed(&self) -> impl Iterator<Item = Port> {
        self.expose.iter().flat_map(|Exposed(ports)| ports).copied()
    }

    /// Whether all of these are published.
    pub fn publishes_all(&self) -> bool {
        self.publish_all
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
        let (endpoints, name) = (self.endpoints(), self.network().name());
        ensure!(*self.network() != Network::Nowhere, "No such network: {name}");
        let first = self.network.first();
        ensure!(
            !first.is_some_and(|first| {
                self.ip.is_some() && first.ip.is_some()
                    || self.mac_address.is_some() && first.mac.is_some()
                    || !self.network_alias.is_empty() && !first.aliases.is_empty()
            }),
            "--network says of the first network what another option says, too"
        );
        let mut networks: Vec<_> = endpoints.iter().map(|endpoint| &endpoint.network).collect();
        let has_address = networks.iter().all(|network| matches!(network, Network::Named(_)));
        ensure!(
            has_address || networks.len() == 1,
            "--network: with none, host or a container there can be no other"
        );
        networks.sort_unstable();
        let twice = networks.windows(2).find(|pair| pair[0] == pair[1]);
        ensure!(twice.is_none(), "--network: {} is there twice", twice.map_or("", |pair| pair[0].name()));
        ensure!(
            has_address || self.publish.is_empty(),
            "--publish: a container on the network {name} has no port of its own to lead to"
        );
        let is_others = self.network().other().is_some();
        ensure!(!is_others || self.dns.is_empty(), "--dns: the name server is that of {name}");
        ensure!(self.ports().len() <= MOST_PORTS, "--publish: {MOST_PORTS} ports at most");
        endpoints.iter().try_for_each(Endpoint::ensure_sound)
    }

    /// What a new record is to keep of them: the words that say it again.
    pub fn fact(&self) -> (&'static str, Vec<u8>) {
        let mut words: Vec<_> =
            self.endpoints().iter().map(|endpoint| format!("--network={endpoint}")).collect();
        if words.is_empty() {
            words.push(format!("--network={}", Network::Nowhere.name()));
        }
        words.extend(
            self.publish.iter().flat_map(|Ports(ports)| ports).map(|port| format!("--publish={port}")),
        );
        words.extend(self.publish_all.then(|| PUBLISH_ALL.0.to_string()));
        words.extend(self.exposed().map(|port| format!("{EXPOSE}{port}")));
        words.extend(self.add_host.iter().map(|host| format!("--add-host={host}")));
        words.extend(self.dns.iter().map(|server| format!("--dns={server}")));
        (FACT, facts::join(words.iter().map(|word| word.as_bytes())))
    }
}

/// The ports that the container of this record serves, as `80/tcp`. It's told without understanding the rest: `ps` asks
/// for hundreds.
pub fn exposed_of(record: &Record) -> Result<Vec<String>> {
    let fact = record.read_bytes(FACT)?.unwrap_or_default();
    let has_none = |word: &&[u8]| {
        let network = word.strip_prefix(b"--network=name=").unwrap_or_default();
        network == b"none" || network == b"host" || network.starts_with(b"container:")
    };
    let words = facts::split(&fact);
    if words.first().is_some_and(has_none) {
        return Ok(Vec::new());
    }
    let ports = words.into_iter().filter_map(|word| word.strip_prefix(EXPOSE.as_bytes()));
    Ok(ports.map(|port| String::from_utf8_lossy(port).into_owned()).collect())
}

/// What was `typed` without these options, for those that don't know them.
pub fn without_ours(typed: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = translation::without(&NAMES, typed).into_iter().filter(|word| word != PUBLISH_ALL.0);
    while let Some(word) = words.next() {
        let letters = word.as_bytes().strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-"));
        let Some(letters) = letters else {
            kept.push(word);
            continue;
        };
        let before = letters.iter().take_while(|letter| LETTERS.contains(letter)).count();
        let (before, mut rest) = letters.split_at(before);
        if let Some((&PUBLISH, value)) = rest.split_first() {
            if value.is_empty() {
                words.next(); // it's the next word
            }
            rest = &[];
        }
        let others = before.iter().filter(|letter| **letter != PUBLISH_ALL.1);
        let others: Vec<_> = b"-".iter().chain(others).chain(rest).copied().collect();
        if letters.is_empty() || others.len() > 1 {
            kept.push(OsString::from_vec(others));
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
            (&["-P", "-dP", "-iPtp", "80", "--publish-all", "-"], &["-d", "-it", "-"]),
            (&["-tPe", "P=1", "-eP=2", "--ip", "10.9.8.7"], &["-te", "P=1", "-eP=2"]),
        ] {
            assert_eq!(without_ours(&all(typed)), all(kept), "{typed:?}");
        }
    }
}
