//! Stop 5 of chapter 2: all limits, where most machines have their controllers.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::Terminal;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::busy;
use ch02_cgroups::group::Group;
use ch02_cgroups::hierarchy::Hierarchy;
use ch02_cgroups::limits::Limits;
use ch02_cgroups::version::Version;
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
    let hostname = args.options.hostname_or(&id);

    // From here on, what is made is undone when it goes out of scope, the last first: the container is killed,
    // then its cgroup is removed, then the terminal is taken back. No signal comes between.
    let signals = HeldSignals::hold()?;
    let mut terminal = Terminal::of_stdin(&args.options)?;
    let cgroup = Cgroup::create(&id, &args.limits)?;
    let inside = || inside(args, hostname, &cgroup, &terminal);

    let mut container = child::spawn(namespaces::OWN, inside)?;
    terminal.lend_to(container.pid(), &signals)?;
    container.start(&signals)?;
    let status = container.wait(&signals, &mut terminal)?;
    if let kills @ 1.. = cgroup.oom_kills()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    cgroup.remove()?;
    Ok(status)
}

/// What the child does in its new namespaces: it makes them its own and becomes the command.
fn inside(args: &Run, hostname: &OsStr, cgroup: &Cgroup, terminal: &Terminal) -> Result<Infallible> {
    cgroup.join()?; // first, so that all we do counts, and while the cgroup files are in sight
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

/// The directories that limit the container, one in each hierarchy that its limits need.
struct Cgroup {
    groups: Vec<Group>,
}

impl Cgroup {
    /// Makes the directories, and writes the limits there.
    fn create(id: &str, limits: &Limits) -> Result<Cgroup> {
        let mut groups = Vec::new();
        for hierarchy in usual(limits.controllers()) {
            let group = Group::new(hierarchy, id);
            let path = &group.directory;
            fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
            group.set(limits)?;
            groups.push(group);
        }
        Ok(Cgroup { groups })
    }

    /// Puts the calling process in.
    fn join(&self) -> Result<()> {
        self.groups.iter().try_for_each(Group::join)
    }

    /// How many processes the kernel killed because the memory limit was reached.
    fn oom_kills(&self) -> Result<u64> {
        let of_memory = |group: &&Group| group.hierarchy.controllers.contains(&"memory");
        self.groups.iter().find(of_memory).map_or(Ok(0), Group::oom_kills)
    }

    /// Removes the directories.
    fn remove(self) -> Result<()> {
        let rmdir = |group: &Group| fs::remove_dir(&group.directory).context("removing the cgroup");
        self.groups.iter().try_for_each(|group| busy::patiently(|| rmdir(group)))
    }
}

/// Where most machines have their controllers.
fn usual(controllers: Vec<&'static str>) -> Vec<Hierarchy> {
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        return vec![Hierarchy { root: top.to_path_buf(), version: Version::V2, controllers }];
    }
    let alone = |controller| {
        let root = top.join(controller);
        Hierarchy { root, version: Version::V1, controllers: vec![controller] }
    };
    controllers.into_iter().map(alone).collect()
}
