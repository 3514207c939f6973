//! Which network a container is on: `--network`. network_namespaces(7).

use std::str::FromStr;

/// What a container is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The host's bridge, and with it all others that are on it.
    Bridge,
    /// Nobody: it has a loopback device for itself.
    None,
    /// Whatever the host is: it has no network of its own.
    Host,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(name: &str) -> Result<Network, String> {
        match name {
            "bridge" | "default" => Ok(Network::Bridge),
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            _ => Err("No such network".to_string()),
        }
    }
}

impl Network {
    /// What `--network` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Network::Bridge => "bridge",
            Network::None => "none",
            Network::Host => "host",
        }
    }
}
