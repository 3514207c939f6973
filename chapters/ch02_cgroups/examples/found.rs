//! Stop 6 of chapter 2: all limits, wherever the controllers are.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::Terminal;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::group::Group;
use ch02_cgroups::limits::Limits;
use ch02_cgroups::{busy, hierarchy};
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
    // From here on, what is made is undone when it goes out of scope, the last first: the container is killed,
    // then the terminal is taken back. No signal comes between.
    let signals = HeldSignals::hold()?;
    let mut terminal = Terminal::of_stdin(&args.options)?;
    let groups = limit(&id, &args.limits)?;
    let mut container = child::spawn(namespaces::OWN, || inside(args, &id, &terminal, &groups))?;
    terminal.lend_to(container.pid(), &signals)?;
    container.start(&signals)?;
    let status = container.wait(&signals, &mut terminal)?;
    let of_memory = groups.iter().find(|group| group.hierarchy.controllers.contains(&"memory"));
    if let Some(kills @ 1..) = of_memory.map(Group::oom_kills).transpose()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    for group in groups {
        busy::patiently(|| fs::remove_dir(&group.directory).context("removing the cgroup"))?;
    }
    Ok(status)
}

/// What the child does in its new namespaces: it makes them its own and becomes the command.
fn inside(args: &Run, id: &str, terminal: &Terminal, groups: &[Group]) -> Result<Infallible> {
    let hostname = args.options.hostname_or(id);
    groups.iter().try_for_each(Group::join)?;
    terminal.enter()?;
    mounts::make_private()?;
    descriptors::close_others()?;
    mounts::mount_proc()?;
    namespaces::set_hostname(hostname)?;
    if !args.options.interactive {
        descriptors::stdin_from_null()?;
    }
    exec(&args.command, &environment(hostname))
}

/// Makes the container's cgroups and writes the limits there.
fn limit(id: &str, limits: &Limits) -> Result<Vec<Group>> {
    let hierarchies = hierarchy::find(&limits.controllers())?;
    hierarchy::check_cpuset(&hierarchies, limits)?;
    let mut groups = Vec::new();
    for hierarchy in hierarchies {
        let group = Group::new(hierarchy, id);
        fs::create_dir_all(&group.directory)
            .with_context(|| format!("making {}", group.directory.display()))?;
        group.set(limits)?;
        groups.push(group);
    }
    Ok(groups)
}
