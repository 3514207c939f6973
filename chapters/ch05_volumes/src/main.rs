//! Chapter 5: `run` a command on a root of its own, with data of the host that stays when it ends.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::Terminal;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::cgroup::Cgroup;
use ch02_cgroups::limits::Limits;
use ch03_pivot_root::{devices, image, rootfs, state};
use ch04_overlay::workspace::Workspace;
use ch04_overlay::{remains, volatile};
use ch05_volumes::spec::{self, Volume};
use ch05_volumes::{target, volumes};
use clap::Parser;

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
    let mut terminal = Terminal::of_stdin(&args.options)?;
    let cgroup = Cgroup::create(id, &args.limits)?;
    let workspace = Workspace::create(state, id)?;
    let hostname = args.options.hostname_or(id);
    // What the child does in its new namespaces: it makes them its own and becomes the command.
    let inside = || inside(args, hostname, image, &workspace, volumes, &cgroup, &terminal);

    let mut container = child::spawn(namespaces::OWN, inside)?;
    terminal.lend_to(container.pid(), &signals)?;
    container.start(&signals)?;
    let status = container.wait(&signals, &mut terminal)?;
    if let kills @ 1.. = cgroup.oom_kills()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    cgroup.remove()?;
    workspace.remove()?;
    Ok(status)
}

fn inside(
    args: &Run,
    hostname: &OsStr,
    image: &Path,
    workspace: &Workspace,
    volumes: &[Volume],
    cgroup: &Cgroup,
    terminal: &Terminal,
) -> Result<Infallible> {
    cgroup.join()?; // first, so that all we do counts, and while the cgroup files are in sight
    terminal.enter()?;
    mounts::make_private()?;
    volatile::mount(&[image], &workspace.upper(), &workspace.work(), &workspace.merged())?;
    volumes::mount_all(volumes, &workspace.merged(), &target::COVERED)?;
    descriptors::close_others()?; // before any path is followed in the container's root
    rootfs::pivot(&workspace.merged())?;
    rootfs::mount_proc()?;
    devices::mount_dev()?;
    namespaces::set_hostname(hostname)?;
    if !args.options.interactive {
        descriptors::stdin_from_null()?;
    }
    exec(&args.command, &environment(hostname))
}
