//! Stop 3 of chapter 2: `run` says when the limit has killed somebody.

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
use ch02_cgroups::files::write;
use ch02_cgroups::group::Group;
use ch02_cgroups::hierarchy::Hierarchy;
use ch02_cgroups::limits::parse_memory;
use ch02_cgroups::version::Version;
use ch02_cgroups::{busy, v2};
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
    /// Memory, swap included: 100m, 1g, or bytes
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory, allow_hyphen_values = true)]
    memory: Option<u64>,
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
    let cgroup = Cgroup::create(&id, args.memory)?;
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

/// The directory that limits the container, if anything does.
struct Cgroup {
    group: Option<Group>,
}

impl Cgroup {
    /// Makes the directory, and writes the limit there.
    fn create(id: &str, memory: Option<u64>) -> Result<Cgroup> {
        let Some(bytes) = memory else { return Ok(Cgroup { group: None }) };
        let group = Group::new(usual(), id);
        let (root, path, version) = (&group.hierarchy.root, &group.directory, group.hierarchy.version);
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        if version == Version::V2 {
            v2::prepare(root, path, &["memory"])?;
        }
        for setting in version.memory(bytes, path)? {
            write(&path.join(setting.file), &setting.value)?;
        }
        Ok(Cgroup { group: Some(group) })
    }

    /// Puts the calling process in.
    fn join(&self) -> Result<()> {
        self.group.as_ref().map_or(Ok(()), Group::join)
    }

    /// How many processes the kernel killed because the memory limit was reached.
    fn oom_kills(&self) -> Result<u64> {
        self.group.as_ref().map_or(Ok(0), Group::oom_kills)
    }

    /// Removes the directory.
    fn remove(self) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        busy::patiently(|| fs::remove_dir(&group.directory).context("removing the cgroup"))
    }
}

/// Where most machines have the memory controller, and in which version.
fn usual() -> Hierarchy {
    let top = Path::new("/sys/fs/cgroup");
    let is_v2 = top.join("cgroup.controllers").exists();
    let (root, version) =
        if is_v2 { (top.to_path_buf(), Version::V2) } else { (top.join("memory"), Version::V1) };
    Hierarchy { root, version, controllers: vec!["memory"] }
}
