//! `run`: a command in a new container, which is on a network.

use anyhow::Result;
use ch08_images::commands::run;

use crate::endpoint::Endpoint;
use crate::options::{NetworkOptions, without_ours};
use crate::planning;

/// What `run` is asked for.
#[derive(Debug, clap::Args)]
#[command(override_usage = concat!(env!("CARGO_PKG_NAME"), " run [OPTIONS] IMAGE [COMMAND] [ARG...]"))]
#[group(skip)] // clap calls a group as the struct is called, and there is another Args inside
pub struct Args {
    /// Those of this chapter.
    #[command(flatten)]
    network: NetworkOptions,
    /// Those of chapters 1 to 8.
    #[command(flatten)]
    others: run::Args,
}

/// All that `run` does, in order.
pub fn run(args: &Args) -> Result<u8> {
    args.network.ensure_sound()?; // what contradicts itself is said before anything is fetched
    args.network.endpoints().iter().try_for_each(Endpoint::ensure_possible)?;
    run::run_as(&args.others, without_ours, |says, plan| planning::new(&args.network, says, plan))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn the_usage_is_this_programs() {
        let usage = Args::augment_args(Command::new("run")).render_usage().to_string();
        assert_eq!(usage, "Usage: ch09_network run [OPTIONS] IMAGE [COMMAND] [ARG...]");
    }
}
