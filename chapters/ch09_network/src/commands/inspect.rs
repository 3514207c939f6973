//! `inspect`: all that is known of a container or an image, and of a container its network, too.

use std::net::IpAddr;

use anyhow::Result;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;
use ch08_images::commands::inspect;
pub use ch08_images::commands::inspect::Args;
use serde_json::{Map, Value, json};

use crate::ipv6::PREFIX;
use crate::links;
use crate::neighbours::{self, Around};
use crate::options::NetworkOptions;
use crate::publish;

/// All that `inspect` does, in order.
pub fn inspect(args: &Args) -> Result<u8> {
    inspect::inspect_as(args, with_network)
}

/// The addresses are not written down anywhere: they're looked up each time.
fn with_network(record: &Record, mut known: Value) -> Result<Value> {
    // What the record doesn't say any more hides nothing else.
    let options = NetworkOptions::of(record).ok();
    let endpoints = options.as_ref().map(NetworkOptions::endpoints).unwrap_or_default();
    let runs = options.is_some() && Process1::of(record)?.is_some();
    let around = if runs { neighbours::around(record.id())? } else { Vec::new() };
    let nothing = json!({
        "IPAddress": "", "IPPrefixLen": 0, "Gateway": "", "MacAddress": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPv6Gateway": "",
    });
    let (mut networks, mut first) = (Map::new(), None);
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.network.other().is_none()) {
        let name = endpoint.network.name();
        let there = around.iter().find(|around| around.bridge.network == name);
        let mut here = there.map_or_else(|| nothing.clone(), end);
        first.get_or_insert_with(|| here.clone());
        here["Aliases"] = json!(endpoint.aliases);
        networks.insert(name.to_string(), here);
    }
    known["HostConfig"]["NetworkMode"] =
        json!(options.as_ref().map_or("", |options| options.network().name()));
    known["HostConfig"]["PublishAllPorts"] =
        json!(options.as_ref().is_some_and(NetworkOptions::publishes_all));
    let mut settings = first.unwrap_or(nothing);
    settings["Networks"] = json!(networks);
    settings["Ports"] = if settings["IPAddress"] == "" { json!({}) } else { ports(record) };
    known["NetworkSettings"] = settings;
    Ok(known)
}

/// What there is to say of a container's end of a cable.
fn end(around: &Around) -> Value {
    let bridge = &around.bridge;
    let gateway = |ip: IpAddr| if bridge.is_internal { String::new() } else { ip.to_string() };
    let ipv6 = |ip| bridge.ipv6.map(|prefix| prefix.address(ip));
    json!({
        "IPAddress": around.own.address,
        "IPPrefixLen": bridge.subnet.prefix,
        "Gateway": gateway(bridge.subnet.gateway.into()),
        "MacAddress": links::shown(around.own.mac),
        "GlobalIPv6Address": ipv6(around.own.address).map_or(String::new(), |ip| ip.to_string()),
        "GlobalIPv6PrefixLen": bridge.ipv6.map_or(0, |_| PREFIX),
        "IPv6Gateway": ipv6(bridge.subnet.gateway).map_or(String::new(), |ip| gateway(ip.into())),
    })
}

/// By the container's port, the host's that lead there.
fn ports(record: &Record) -> Value {
    let mut ports = Map::new();
    let (_, lines) = publish::published(record).ok().flatten().unwrap_or_default();
    for line in lines.lines() {
        let Some((inside, host)) = line.split_once(" -> ") else { continue };
        let Some((ip, port)) = host.rsplit_once(':') else { continue };
        let way = json!({"HostIp": ip.trim_matches(['[', ']']), "HostPort": port});
        if let Value::Array(ways) = ports.entry(inside).or_insert_with(|| json!([])) {
            ways.push(way);
        }
    }
    Value::Object(ports)
}
