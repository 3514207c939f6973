//! `inspect`: all that is known of a container or an image, and of a container its network, too.

use std::net::Ipv4Addr;

use anyhow::Result;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;
use ch08_images::commands::inspect;
pub use ch08_images::commands::inspect::Args;
use serde_json::{Map, Value, json};

use crate::addresses::mac;
use crate::bridge::Bridge;
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
    let options = NetworkOptions::of(record).ok();
    let network = options.as_ref().map_or("", |options| options.network().name());
    let runs = options.is_some() && Process1::of(record)?.is_some();
    let place = if runs { cable::place_of(record)? } else { None };
    known["HostConfig"]["NetworkMode"] = json!(network);
    let mut settings = place.map_or_else(
        || json!({"IPAddress": "", "IPPrefixLen": 0, "Gateway": "", "MacAddress": ""}),
        |(bridge, own)| end(&bridge, own.address),
    );
    let mut here = settings.clone();
    here["Aliases"] = json!(options.as_ref().map(NetworkOptions::aliases));
    settings["Networks"] = json!({network: here});
    settings["Ports"] = if settings["IPAddress"] == "" { json!({}) } else { ports(record) };
    known["NetworkSettings"] = settings;
    Ok(known)
}

/// What there is to say of a container's end of its cable.
fn end(bridge: &Bridge, address: Ipv4Addr) -> Value {
    json!({
        "IPAddress": address,
        "IPPrefixLen": bridge.subnet.prefix,
        "Gateway": if bridge.is_internal { String::new() } else { bridge.subnet.gateway.to_string() },
        "MacAddress": links::shown(mac(address)),
    })
}

/// By the container's port, the host's that lead there.
fn ports(record: &Record) -> Value {
    let mut ports = Map::new();
    for line in record.read(PUBLISHED).ok().flatten().unwrap_or_default().lines() {
        let Some((inside, host)) = line.split_once(" -> ") else { continue };
        let Some((ip, port)) = host.rsplit_once(':') else { continue };
        let way = json!({"HostIp": ip.trim_matches(['[', ']']), "HostPort": port});
        if let Value::Array(ways) = ports.entry(inside).or_insert_with(|| json!([])) {
            ways.push(way);
        }
    }
    Value::Object(ports)
}
