//! `ps`: which containers there are, and which ports they publish.

use std::collections::BTreeSet;

use anyhow::Result;
use ch07_lifecycle::commands::ps;
pub use ch07_lifecycle::commands::ps::Args;
use ch07_lifecycle::listing::Listed;

use crate::options;
use crate::publish;

/// All that `ps` does, in order.
pub fn ps(args: &Args) -> Result<u8> {
    ps::ps_as(args, Some(published))
}

/// As Docker writes it: `0.0.0.0:8080->80/tcp`, and `80/tcp` if no port of the host leads there. What can't be read hides
/// no container.
fn published(listed: &Listed) -> String {
    if !listed.state.runs() {
        return String::new();
    }
    let (_, lines) = publish::published(&listed.record).ok().flatten().unwrap_or_default();
    let ways: Vec<_> = lines.lines().filter_map(|line| line.split_once(" -> ")).collect();
    let mut shown: Vec<_> = ways.iter().map(|(inside, host)| format!("{host}->{inside}")).collect();
    let published: BTreeSet<_> = ways.iter().map(|(inside, _)| *inside).collect();
    let exposed = options::exposed_of(&listed.record).unwrap_or_default();
    shown.extend(in_rows(exposed.into_iter().filter(|port| !published.contains(port.as_str()))));
    shown.join(", ")
}

/// Some images expose thousands: `5000-5999/udp`.
fn in_rows(ports: impl Iterator<Item = String>) -> Vec<String> {
    let parts = |port: String| {
        let (number, protocol) = port.split_once('/')?;
        Some((protocol.to_string(), number.parse::<u32>().ok()?))
    };
    let mut all: Vec<_> = ports.filter_map(parts).collect();
    all.sort();
    let rows = all.chunk_by(|one, next| one.0 == next.0 && one.1 + 1 == next.1);
    let rows = rows.filter_map(|row| Some((row.first()?, row.last()?)));
    rows.map(|((protocol, first), (_, last))| match first == last {
        true => format!("{first}/{protocol}"),
        false => format!("{first}-{last}/{protocol}"),
    })
    .collect()
}
