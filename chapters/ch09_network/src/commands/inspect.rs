//! `inspect`: all that is known of a container or an image, and of a container its network, too.

use anyhow::Result;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;
use ch08_images::commands::inspect;
pub use ch08_images::commands::inspect::Args;
use serde_json::{Map, Value, json};

use crate::addresses::{self, GATEWAY, PREFIX, mac};
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::publish::PUBLISHED;
use crate::{cable, links};

/// All that `inspect` does, in order.
pub fn inspect(args: &Args) -> Result<u8> {
    inspect::inspect_as(args, with_network)
}

/// The address is not written down anywhere: it's looked up each time.
fn with_network(record: &Record, mut known: Value) -> Result<Value> {
    // What the record doesn't say any more hides nothing else.
    let network = NetworkOptions::of(record).ok().map(|options| options.network());
    let address = match (network, Process1::of(record)?) {
        (Some(Network::Bridge), Some(process)) => cable::number_of(process.pid())?.map(addresses::address),
        _ => None,
    };
    let of_address = |value: Value| if address.is_some() { value } else { json!("") };
    known["HostConfig"]["NetworkMode"] = json!(network.map_or("", Network::name));
    known["NetworkSettings"] = json!({
        "IPAddress": address.map_or(String::new(), |address| address.to_string()),
        "IPPrefixLen": if address.is_some() { PREFIX } else { 0 },
        "Gateway": of_address(json!(GATEWAY)),
        "MacAddress": address.map_or(String::new(), |address| links::shown(mac(address))),
        "Ports": if address.is_some() { ports(record)? } else { json!({}) },
    });
    Ok(known)
}

/// By the container's port, the host's that lead there.
fn ports(record: &Record) -> Result<Value> {
    let mut ports = Map::new();
    for line in record.read(PUBLISHED)?.unwrap_or_default().lines() {
        let Some((inside, host)) = line.split_once(" -> ") else { continue };
        let Some((ip, port)) = host.rsplit_once(':') else { continue };
        let way = json!({"HostIp": ip.trim_matches(['[', ']']), "HostPort": port});
        if let Value::Array(ways) = ports.entry(inside).or_insert_with(|| json!([])) {
            ways.push(way);
        }
    }
    Ok(Value::Object(ports))
}
