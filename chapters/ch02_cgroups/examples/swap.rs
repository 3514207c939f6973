//! Stop 2 of chapter 2: `-m` limits swap too.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::terminal::Terminal;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::files::write;
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
    group: Option<PathBuf>,
}

impl Cgroup {
    /// Makes the directory, and writes the limit there.
    fn create(id: &str, memory: Option<u64>) -> Result<Cgroup> {
        let Some(bytes) = memory else { return Ok(Cgroup { group: None }) };
        let (root, version) = usual();
        let group = root.join("byhand").join(id);
        fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
        if version == Version::V2 {
            v2::prepare(&root, &group, &["memory"])?;
        }
        for setting in version.memory(bytes, &group)? {
            write(&group.join(setting.file), &setting.value)?;
        }
        Ok(Cgroup { group: Some(group) })
    }

    /// Puts the calling process in.
    fn join(&self) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        write(&group.join("cgroup.procs"), "0") // 0 is whoever writes it
    }

    /// Removes the directory.
    fn remove(self) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        busy::patiently(|| fs::remove_dir(group).context("removing the cgroup"))
    }
}

/// Where most machines have the memory controller, and in which version.
fn usual() -> (PathBuf, Version) {
    let top = Path::new("/sys/fs/cgroup");
    let is_v2 = top.join("cgroup.controllers").exists();
    if is_v2 { (top.to_path_buf(), Version::V2) } else { (top.join("memory"), Version::V1) }
}
