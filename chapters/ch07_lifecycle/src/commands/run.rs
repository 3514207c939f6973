//! `run`: a command in a new container, which is kept until somebody removes it.

use std::io::{IsTerminal, stdin};

use anyhow::{Context, Result};
use ch01_run::signals::HeldSignals;
use ch01_run::{descriptors, id, inherited, messages, namespaces};
use ch03_pivot_root::state;
use ch06_init::raw;

pub use crate::asked::Asked as Args;
use crate::asked::Plan;
use crate::launch::{Bond, launch};
use crate::{orphans, output};

/// All that `run` does, in order.
pub fn run(args: Args) -> Result<u8> {
    messages::start_log(args.options.log_level)?;
    namespaces::require_root()?;
    inherited::normalize()?;
    descriptors::ensure_no_directory()?;
    let state = state::root()?;
    let (options, detach) = (&args.options, args.keeping.detach);
    let (keys, raw) = (options.interactive, options.interactive && options.terminal);
    let plan = Plan::of(args, id::random()?, state)?;
    orphans::sweep(&plan.state)?; // while a signal still ends us at once
    let signals = HeldSignals::hold()?;
    if raw && !detach && stdin().is_terminal() {
        raw::wait_for_foreground(&signals)?; // in the background nothing has begun
    }
    let bond = if detach { Bond::Detached } else { Bond::Leash };
    let status = launch(&plan, None, bond, keys, &signals)?;
    if detach && status == 0 {
        output::print_line(&plan.id).context("printing the id")?;
    }
    Ok(status)
}
