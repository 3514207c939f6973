//! Which network a container is on: `--network`. network_namespaces(7).

use std::fs::{File, TryLockError};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ch07_lifecycle::names;

use crate::bridge;

/// What a container is connected to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// The bridge of this name, and with it all others that are on it.
    Named(String),
    /// Nobody: it has a loopback device for itself.
    None,
    /// Nobody, for the time being: it has been disconnected from its last network.
    Nowhere,
    /// Whatever the host is: it has no network of its own.
    Host,
    /// Whatever another container is. The text is `container:` and which one: a name until it's looked up, then an id.
    Of(String),
}

/// Before a container's name, in the place of a network's.
const OF: &str = "container:";

/// What a record says of a container that is nowhere. No network can be called so.
const NOWHERE: &str = "-";

impl FromStr for Network {
    type Err = String;

    fn from_str(name: &str) -> Result<Network, String> {
        match name {
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            NOWHERE => Ok(Network::Nowhere),
            _ if name.starts_with(OF) => {
                names::parse(&name[OF.len()..]).map_err(|error| error.to_string())?;
                Ok(Network::Of(name.to_string()))
            }
            "default" => Ok(Network::Named(bridge::DEFAULT.to_string())),
            _ => Ok(Network::Named(names::parse(name).map_err(|error| error.to_string())?)),
        }
    }
}

impl Network {
    /// What `--network` calls it.
    pub fn name(&self) -> &str {
        match self {
            Network::Named(name) => name,
            Network::None => "none",
            Network::Nowhere => NOWHERE,
            Network::Host => "host",
            Network::Of(which) => which,
        }
    }

    /// The other container whose network it is, if it's one's.
    pub fn other(&self) -> Option<&str> {
        match self {
            Network::Of(which) => which.strip_prefix(OF),
            _ => None,
        }
    }

    /// The network of the container with this id.
    pub fn of(id: &str) -> Network {
        Network::Of(format!("{OF}{id}"))
    }
}

/// A name for a new network: one that no other has, nor ever can have.
pub fn new_name(text: &str) -> Result<String, String> {
    match text.parse()? {
        Network::Named(name) if name != bridge::DEFAULT => Ok(name),
        _ => Err(format!("{text:?} is the name of a network that's always there")),
    }
}

/// As long as the file is open, no network is made or taken away. What is locked is the host's network itself: it's a
/// file as well.
pub fn hold() -> Result<File> {
    hold_with(File::try_lock_shared)
}

/// The same, for whoever makes one or takes one away, or a single cable of a container that runs.
pub fn hold_alone() -> Result<File> {
    hold_with(File::try_lock)
}

/// Tries for a while. Anybody can lock that file, and whoever did it for no good reason isn't waited for.
fn hold_with(try_it: fn(&File) -> Result<(), TryLockError>) -> Result<File> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let own = File::open("/proc/self/ns/net").context("opening the host's network")?;
    let end = Instant::now() + PATIENCE;
    loop {
        match try_it(&own) {
            Ok(()) => return Ok(own),
            Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => {
                bail!("somebody has held the lock on the host's network for {PATIENCE:?}")
            }
            Err(TryLockError::Error(error)) => return Err(error).context("locking the host's network"),
        }
    }
}
