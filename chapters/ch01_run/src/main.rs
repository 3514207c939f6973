// ANCHOR: head
//! Chapter 1: `run` a command in five namespaces of its own, on the host's file system.

mod args;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::{self, Terminal};
use ch01_run::{errors, exec, id, inherited, mounts, namespaces};
use clap::Parser;
use env_logger::Env;
use log::{LevelFilter, warn};

use args::{Cli, Run};
// ANCHOR_END: head

// ANCHOR: main
fn main() -> ExitCode {
    let status = match Cli::try_parse() {
        Ok(Cli::Run(args)) => run(&args).unwrap_or_else(|error| fail(&error)),
        Err(help) if !help.use_stderr() => help.exit(),
        Err(usage) => fail(&usage.into()),
    };
    status.into()
}
// ANCHOR_END: main

// ANCHOR: run
/// The parent's side: makes the container and waits for its end.
fn run(args: &Run) -> Result<u8> {
    start_log(args.log_level)?;
    namespaces::require_root()?;
    inherited::normalize()?;
    let id = id::random()?;
    let hostname = args.hostname.as_deref().unwrap_or(OsStr::new(&id));

    // From here on, what is made is undone when it goes out of scope, the last first: the container is killed,
    // then the terminal is taken back. No signal comes between.
    let signals = HeldSignals::hold()?;
    let mut terminal = if args.terminal { Terminal::of_stdin()? } else { None };
    if args.terminal && terminal.is_none() {
        warn!("-t: stdin is not our terminal; going on without");
    }
    let has_terminal = terminal.is_some();
    let mut container = namespaces::spawn(|| inside(args, hostname, has_terminal), fail)?;
    if let Some(terminal) = &mut terminal {
        terminal.lend_to(container.pid())?;
    }
    container.start()?;
    container.wait(&signals)
}
// ANCHOR_END: run

// ANCHOR: inside
/// The child's side: in its new namespaces, it makes them its own and becomes the command.
fn inside(args: &Run, hostname: &OsStr, terminal: bool) -> Result<Infallible> {
    if !terminal {
        terminal::detach()?;
    }
    mounts::make_private()?;
    exec::close_descriptors()?;
    mounts::mount_proc()?;
    namespaces::set_hostname(hostname)?;
    if !args.interactive {
        exec::stdin_from_null()?;
    }
    exec::exec(&args.command, &exec::environment(hostname))
}
// ANCHOR_END: inside

// ANCHOR: start_log
/// Lets the log tell as much as `--log-level` says, or RUST_LOG, or else only warnings.
fn start_log(level: Option<LevelFilter>) -> Result<()> {
    let mut log = env_logger::Builder::from_env(Env::default().default_filter_or("warn"));
    if let Some(level) = level {
        log.filter_level(level);
    }
    Ok(log.try_init()?)
}
// ANCHOR_END: start_log

// ANCHOR: fail
/// One line on stderr, and the exit status that goes with it.
fn fail(error: &anyhow::Error) -> u8 {
    // Not eprintln: that panics when stderr is closed or full, and there is no one else to tell.
    let _ = writeln!(std::io::stderr(), "{}: {}", env!("CARGO_PKG_NAME"), errors::one_line(error));
    errors::exit_status(error)
}
// ANCHOR_END: fail
