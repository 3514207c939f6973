//! `attach`: back to a container that runs. Ctrl-P Ctrl-Q leaves it again, if it has a terminal.

use std::io::{IsTerminal, stdin};

use anyhow::{Context, Result, ensure};
use ch01_run::signals::{self, HeldSignals};
use ch06_init::raw::{self, CallersModes};
use nix::sys::signal::{SigSet, Signal, raise};

use crate::asked::Asked;
use crate::client::{self, Wants};
use crate::common::One;
use crate::door;
use crate::process1::Process1;
use crate::state::State;

/// Arguments of `attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Give the container nothing to read
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on; else they end this, and not the container
    #[arg(
        long = "sig-proxy", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set
    )]
    passes_signals: bool,
    #[command(flatten)]
    which: One,
}

/// All that `attach` does, in order.
pub fn attach(args: &Args) -> Result<u8> {
    let record = args.which.begin()?;
    let word = args.which.container.display();
    ensure!(State::of(&record)? != State::Paused, "container {word} is paused: unpause it first");
    let process1 = Process1::of(&record)?.with_context(|| format!("container {word} is not running"))?;
    let keeper = door::connect_to(&record)?.with_context(|| format!("container {word} is not running"))?;
    let options = Asked::of(&record)?.options;
    let keys = options.interactive && !args.no_stdin;
    let held = HeldSignals::hold()?;
    if keys && options.terminal && stdin().is_terminal() {
        raw::wait_for_foreground(&held)?;
    }
    let wants = Wants { keys, terminal: options.terminal, start_only: false, is_there: true };
    let modes = if keys && options.terminal { CallersModes::of_stdin()? } else { None };
    let status = client::follow(&keeper, &wants, &held, &|signal| match args.passes_signals {
        true => process1.signal(signal),
        false => {
            modes.iter().for_each(CallersModes::restore); // nothing that goes out of scope does it: we end here
            signals::set_default(signal).and_then(|()| raise_unheld(signal)) // as if it had never been held
        }
    })?;
    Ok(status.unwrap_or(0))
}

fn raise_unheld(signal: Signal) -> Result<()> {
    SigSet::from(signal)
        .thread_unblock()
        .and_then(|()| raise(signal))
        .with_context(|| format!("ending by {signal}"))
}
