//! On the way to chapter 6: `run` with an init, and with more and more of what programs expect around them.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use ch01_run::child::Child;
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::Terminal;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::cgroup::Cgroup;
use ch02_cgroups::limits::Limits;
use ch03_pivot_root::{image, rootfs, state};
use ch04_overlay::workspace::Workspace;
use ch04_overlay::{remains, volatile};
use ch05_volumes::spec::{self, Volume};
use ch05_volumes::volumes;
use ch06_init::surroundings::Surroundings;
use ch06_init::{filesystems, init, pty};
use clap::Parser;
use nix::unistd::dup2_stdin;

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
    #[command(flatten)]
    limits: Limits,
    /// The image: a directory [default: the busybox image]
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Mount SRC of the host on DST in the container, read-only or not; may be given again
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro|rw]")]
    volumes: Vec<OsString>,
    #[command(flatten)]
    surroundings: Surroundings,
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
    let volumes = spec::parse_all(&args.volumes)?;
    let state = state::root()?;
    let image = match &args.rootfs {
        Some(directory) => image::checked(directory)?,
        None => image::busybox(&state)?,
    };
    remains::remove_all(&state)?; // of killed runs, while a signal still ends us at once
    contain(args, &id, &state, &image, &volumes)
}

/// One container, from its first directory to its exit status.
fn contain(args: &Run, id: &str, state: &Path, image: &Path, volumes: &[Volume]) -> Result<u8> {
    // From here on, what is made is undone when it goes out of scope, the last first: the container is killed,
    // then its files and its cgroup are removed, then the terminal is taken back. No signal comes between.
    let signals = HeldSignals::hold()?;
    let mut terminal =
        if args.options.terminal { Terminal::Apart } else { Terminal::of_stdin(&args.options)? };
    let (ours, socket) = UnixStream::pair().context("making a socket for the terminal")?;
    let cgroup = Cgroup::create(id, &args.limits)?;
    let workspace = Workspace::create(state, id)?;
    let hostname = args.options.hostname_or(id);
    // What the child does in its new namespaces: it makes them its own and becomes the command.
    let enter = || enter(args, &terminal, &socket);
    let inside = || inside(args, hostname, image, &workspace, volumes, &cgroup, enter);

    let mut container = child::spawn(namespaces::OWN, inside)?;
    drop(socket); // the container's alone, so that we see its end
    let status = wait(args, &mut container, &ours, &mut terminal, &signals)?;
    if let kills @ 1.. = cgroup.oom_kills()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    cgroup.remove()?;
    workspace.remove()?;
    Ok(status)
}

/// Lets the container go, and copies for its terminal until it ends. Only a command without one gets the caller's.
fn wait(
    args: &Run,
    container: &mut Child,
    socket: &UnixStream,
    terminal: &mut Terminal,
    signals: &HeldSignals,
) -> Result<u8> {
    terminal.lend_to(container.pid(), signals)?;
    container.start(signals)?;
    if args.options.terminal
        && let Some(outer) = pty::receive(socket)?
    {
        copy(args, outer)?;
    }
    container.wait(signals, terminal)
}

/// What is typed goes in, what is printed comes out.
fn copy(args: &Run, outer: File) -> Result<()> {
    let mut keyboard = outer.try_clone().context("copying the terminal")?;
    let mut screen = outer;
    if args.options.interactive {
        thread::spawn(move || io::copy(&mut io::stdin(), &mut keyboard));
    }
    thread::spawn(move || io::copy(&mut screen, &mut io::stdout()));
    Ok(())
}

fn inside(
    args: &Run,
    hostname: &OsStr,
    image: &Path,
    workspace: &Workspace,
    volumes: &[Volume],
    cgroup: &Cgroup,
    enter: impl Fn() -> Result<()>,
) -> Result<Infallible> {
    cgroup.join()?; // first, so that all we do counts, and while the cgroup files are in sight
    enter()?;
    mounts::make_private()?;
    volatile::mount(&[image], &workspace.upper(), &workspace.work(), &workspace.merged())?;
    volumes::mount_all(volumes, &workspace.merged(), &filesystems::PLACES)?;
    descriptors::close_others()?; // before any path is followed in the container's root
    rootfs::pivot(&workspace.merged())?;
    rootfs::mount_proc()?;
    args.surroundings.mount_all()?;
    namespaces::set_hostname(hostname)?;
    complete(args)?;
    let command = || become_command(args, hostname);
    if args.surroundings.init { init::become_init(command) } else { command() }
}

/// Leaves the caller's terminal, if there is to be another. The socket is the way out for that one.
fn enter(args: &Run, terminal: &Terminal, socket: &UnixStream) -> Result<()> {
    terminal.enter()?;
    if args.options.terminal {
        dup2_stdin(socket).context("keeping the socket")?; // it is one of the three that stay open
    }
    Ok(())
}

/// Makes what the command finds as its stdin.
fn complete(args: &Run) -> Result<()> {
    match args.options {
        Options { terminal: true, .. } => pty::open(None),
        Options { interactive: true, .. } => Ok(()),
        _ => descriptors::stdin_from_null(),
    }
}

/// The last step, in the process that leads the command's session.
fn become_command(args: &Run, hostname: &OsStr) -> Result<Infallible> {
    if args.options.terminal {
        pty::take()?;
    }
    exec(&args.command, &environment(hostname))
}
