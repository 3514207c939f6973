//! On the way to chapter 1: `run` passes signals on, from its first moment.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use clap::Parser;
use nix::sys::signal::Signal;

#[derive(Parser)]
// No command at all is an error like any other: one line, 125. Of an option given twice, the last counts.
#[command(arg_required_else_help = false, args_override_self = true)]
enum Cli {
    /// Run a command in a new container
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    options: Options,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    messages::exit(Cli::try_parse(), |Cli::Run(args)| run(&args))
}

/// All that `run` does, in order.
fn run(args: &Run) -> Result<u8> {
    messages::start_log(args.options.log_level)?;
    namespaces::require_root()?;
    inherited::normalize()?;
    let id = id::random()?;

    // No signal ends us from here on: each one waits until we ask.
    let signals = HeldSignals::hold()?;

    let mut container = child::spawn(namespaces::OWN, || inside(args, &id))?;
    container.start(&signals)?;
    loop {
        match signals.next()? {
            Signal::SIGCHLD => {
                if let Some(status) = container.reap()? {
                    return Ok(status);
                }
            }
            signal => container.pass_on(signal)?,
        }
    }
}

/// What the child does in its new namespaces: it makes them its own and becomes the command.
fn inside(args: &Run, id: &str) -> Result<Infallible> {
    mounts::make_private()?;
    descriptors::close_others()?;
    mounts::mount_proc()?;
    let hostname = args.options.hostname_or(id);
    namespaces::set_hostname(hostname)?;
    if !args.options.interactive {
        descriptors::stdin_from_null()?;
    }
    exec(&args.command, &environment(hostname))
}
