//! Which network a container is on: `--network`. network_namespaces(7).

use std::fs::File;
use std::str::FromStr;

use anyhow::{Context, Result};
use ch07_lifecycle::names;
use nix::sys::socket::SockProtocol::NetlinkRoute;

use crate::bridge;
use crate::netlink::Netlink;

/// What a container is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// The bridge of this name, and with it all others that are on it.
    Named(String),
    /// Nobody: it has a loopback device for itself.
    None,
    /// Whatever the host is: it has no network of its own.
    Host,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(name: &str) -> Result<Network, String> {
        match name {
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            "default" => Ok(Network::Named(bridge::DEFAULT.to_string())),
            _ => Ok(Network::Named(names::parse(name).map_err(|error| error.to_string())?)),
        }
    }
}

impl Network {
    /// Fails if it's not there. The default one will be.
    pub fn ensure_there(&self) -> Result<()> {
        match self {
            Network::Named(name) if name != bridge::DEFAULT => {
                bridge::named(&Netlink::open(NetlinkRoute)?, name).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What `--network` calls it.
    pub fn name(&self) -> &str {
        match self {
            Network::Named(name) => name,
            Network::None => "none",
            Network::Host => "host",
        }
    }
}

/// A name for a new network: one that no other has, nor ever can have.
pub fn new_name(text: &str) -> Result<String, String> {
    match text.parse()? {
        Network::Named(name) if name != bridge::DEFAULT => Ok(name),
        _ => Err(format!("{text:?} is the name of a network that's always there")),
    }
}

/// As long as the file is open, no network is made or taken away. What is locked is the host's network itself: it's a file as well.
pub fn hold() -> Result<File> {
    let own = open()?;
    own.lock_shared().context("locking the host's network")?;
    Ok(own)
}

/// The same, for whoever makes one or takes one away.
pub fn hold_alone() -> Result<File> {
    let own = open()?;
    own.lock().context("locking the host's network")?;
    Ok(own)
}

fn open() -> Result<File> {
    File::open("/proc/self/ns/net").context("opening the host's network")
}
