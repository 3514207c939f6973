//! `start`: a container that has ended, once more, on the same network.

use anyhow::Result;
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::commands::start;
pub use ch07_lifecycle::commands::start::Args;

use crate::planning;

/// All that `start` does, in order.
pub fn start(args: &Args) -> Result<u8> {
    start::start_as(args, |record, state| planning::again(record, Plan::again(record, state)?))
}
