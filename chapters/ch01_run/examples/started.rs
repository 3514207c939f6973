//! On the way to chapter 1: `run` gives the command what it should have, and nothing that it inherited.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::{descriptors, id, messages, mounts, namespaces};
use clap::Parser;
use nix::sched::clone;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};

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
    let id = id::random()?;

    let mut stack = vec![0; 1024 * 1024];
    let child = || {
        let Err(error) = inside(args, &id);
        messages::fail(&error).into()
    };
    // SAFETY: the child gets a copy of our memory, this stack included, as after fork(2).
    let pid = unsafe { clone(Box::new(child), &mut stack, namespaces::OWN, Some(Signal::SIGCHLD as i32)) }
        .context("cloning a child into new namespaces")?;
    match waitpid(pid, None).context("waiting for the child")? {
        WaitStatus::Exited(_, code) => Ok(code as u8), // 0 to 255: wait(2)
        WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as u8),
        other => bail!("the child has neither ended nor died: {other:?}"),
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
