//! `ps`: which containers there are, and which ports they publish.

use anyhow::Result;
use ch07_lifecycle::commands::ps;
pub use ch07_lifecycle::commands::ps::Args;
use ch07_lifecycle::listing::Listed;

use crate::options;
use crate::publish::PUBLISHED;

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
    let lines = listed.record.read(PUBLISHED).ok().flatten().unwrap_or_default();
    let ways: Vec<_> = lines.lines().filter_map(|line| line.split_once(" -> ")).collect();
    let mut shown: Vec<_> = ways.iter().map(|(inside, host)| format!("{host}->{inside}")).collect();
    let exposed = options::exposed_of(&listed.record).unwrap_or_default();
    shown.extend(exposed.into_iter().filter(|port| !ways.iter().any(|(inside, _)| inside == port)));
    shown.join(", ")
}
