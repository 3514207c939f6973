//! `ps`: which containers there are, and which ports they publish.

use anyhow::Result;
use ch07_lifecycle::commands::ps;
pub use ch07_lifecycle::commands::ps::Args;
use ch07_lifecycle::listing::Listed;

use crate::publish::PUBLISHED;

/// All that `ps` does, in order.
pub fn ps(args: &Args) -> Result<u8> {
    ps::ps_as(args, Some(published))
}

/// As Docker writes it: `0.0.0.0:8080->80/tcp`. What can't be read hides no container.
fn published(listed: &Listed) -> String {
    if !listed.state.runs() {
        return String::new();
    }
    let lines = listed.record.read(PUBLISHED).ok().flatten().unwrap_or_default();
    let ways = lines.lines().filter_map(|line| line.split_once(" -> "));
    ways.map(|(inside, host)| format!("{host}->{inside}")).collect::<Vec<_>>().join(", ")
}
