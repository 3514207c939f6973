// ANCHOR: head
//! Chapter 5: `run` a command on a root of its own, with data of the host that stays when it ends.

mod args;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::{self, Terminal};
use ch01_run::{errors, exec, id, inherited, mounts, namespaces};
use ch02_cgroups::cgroup::Cgroup;
use ch03_pivot_root::{image, rootfs, state};
use ch04_overlay::workspace::Workspace;
use ch05_volumes::volumes::{self, Volume};
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

    let volumes = volumes::parse_all(&args.volumes)?;
    let state = state::root()?;
    let image = match &args.rootfs {
        Some(directory) => image::checked(directory)?,
        None => image::busybox(&state)?,
    };

    // From here on, what is made is undone when it goes out of scope, the last first: the container is killed,
    // then its files and its cgroup are removed, then the terminal is taken back. No signal comes between.
    let signals = HeldSignals::hold()?;
    let mut terminal = if args.terminal { Terminal::of_stdin()? } else { None };
    if args.terminal && terminal.is_none() {
        warn!("-t: stdin is not our terminal; going on without");
    }
    let cgroup = Cgroup::create(&id, &args.limits())?;
    let workspace = Workspace::create(&state, &id, &image)?;
    let has_terminal = terminal.is_some();
    let mut container =
        namespaces::spawn(|| inside(args, hostname, &cgroup, &workspace, &volumes, has_terminal), fail)?;
    if let Some(terminal) = &mut terminal {
        terminal.lend_to(container.pid())?;
    }
    container.start()?;
    let status = container.wait(&signals)?;
    if let kills @ 1.. = cgroup.oom_kills()? {
        say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    cgroup.remove()?;
    workspace.remove()?;
    Ok(status)
}
// ANCHOR_END: run

// ANCHOR: inside
/// The child's side: in its new namespaces, it makes them its own and becomes the command.
fn inside(
    args: &Run,
    hostname: &OsStr,
    cgroup: &Cgroup,
    workspace: &Workspace,
    volumes: &[Volume],
    terminal: bool,
) -> Result<Infallible> {
    cgroup.join()?; // first, so that all we do counts, and while the cgroup files are in sight
    if !terminal {
        terminal::detach()?;
    }
    mounts::make_private()?;
    workspace.mount()?;
    volumes::mount_all(volumes, &workspace.merged())?;
    exec::close_descriptors()?; // before any path is followed in the container's root
    rootfs::pivot(&workspace.merged())?;
    rootfs::mount_proc()?;
    rootfs::mount_dev()?;
    namespaces::set_hostname(hostname)?;
    if !args.interactive {
        exec::stdin_from_null()?;
    }
    exec::exec(&args.command, &exec::environment(hostname))
}
// ANCHOR_END: inside

// ANCHOR: log
/// Lets the log tell as much as `--log-level` says, or RUST_LOG, or else only warnings.
fn start_log(level: Option<LevelFilter>) -> Result<()> {
    let mut log = env_logger::Builder::from_env(Env::default().default_filter_or("warn"));
    if let Some(level) = level {
        log.filter_level(level);
    }
    Ok(log.try_init()?)
}
// ANCHOR_END: log

// ANCHOR: fail
/// One line on stderr, and the exit status that goes with it.
fn fail(error: &anyhow::Error) -> u8 {
    say(&errors::one_line(error));
    errors::exit_status(error)
}
// ANCHOR_END: fail

// ANCHOR: say
fn say(line: &str) {
    // Not eprintln: that panics when stderr is closed or full, and there is no one else to tell.
    let _ = writeln!(std::io::stderr(), "{}: {line}", env!("CARGO_PKG_NAME"));
}
// ANCHOR_END: say
