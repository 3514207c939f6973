//! `exec`: one more command in a container that runs.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::exit;

use anyhow::{Context, Result, bail};
use ch01_run::options::Options;
use ch01_run::signals::HeldSignals;
use ch01_run::{child, descriptors, inherited, messages};
use ch03_pivot_root::state;
use ch06_init::streams::Streams;
use log::debug;
use nix::sched::CloneFlags;
use nix::unistd::{ForkResult, fork};

use crate::asked::Asked;
use crate::common::Common;
use crate::groups::Groups;
use crate::process::ProcessOptions;
use crate::process1::Process1;
use crate::record::Record;
use crate::report::{self, Report};
use crate::state::State;
use crate::{enter, environment, facts, find, sealed};

/// The status when there is no such container, or none that a command could enter.
const NO_CONTAINER: u8 = 1;

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep stdin open (else the command reads /dev/null)
    #[arg(short)]
    interactive: bool,
    /// A terminal of the container's own
    #[arg(short)]
    terminal: bool,
    /// Return when the command has begun, and leave it alone
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    process: ProcessOptions,
    #[command(flatten)]
    common: Common,
    /// The container (its name, its id, or the beginning of that), the command and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    words: Vec<OsString>,
}

/// All that `exec` does, in order.
pub fn exec(args: &Args) -> Result<u8> {
    args.common.start()?;
    inherited::normalize()?;
    sealed::seal()?; // everything from here on happens in a program that nobody can write to
    let (record, process1) = match running(&args.words[0]) {
        Ok(found) => found,
        Err(error) => {
            messages::fail(&error);
            return Ok(NO_CONTAINER);
        }
    };
    let groups = Groups::open(record.id())?;
    let process = as_container(&args.process, &record)?;
    let environment = environment_for(args, &process, &record)?;
    let entry = Entry { args, process1, groups, process, environment };
    if args.detach { entry.leave() } else { entry.stay() }
}

/// The container, and its process 1.
fn running(word: &OsStr) -> Result<(Record, Process1)> {
    let record = find::one(&state::root()?, word)?;
    // In this order. Until the state says that the container runs, its process has the host's files in sight, and whoever
    // enters it then is on the host; one that had ended by then can't be entered.
    let process1 = Process1::of(&record)?;
    match State::of(&record)? {
        State::Created => bail!("container {} is not running", word.display()),
        State::Paused => bail!("container {} is paused: unpause it first", word.display()),
        State::Restarting(_) => bail!("container {} is restarting: wait until it runs", word.display()),
        _ => {}
    }
    let process1 = process1.with_context(|| format!("container {} is not running", word.display()))?;
    Ok((record, process1))
}

/// The options, and what `run` was told of the user and the directory where they say nothing.
fn as_container(options: &ProcessOptions, record: &Record) -> Result<ProcessOptions> {
    let asked = Asked::of(record)?.process;
    let mut options = options.clone();
    options.user = options.user.or(asked.user);
    options.workdir = options.workdir.or(asked.workdir);
    Ok(options)
}

/// The environment of the container's own command, and what the options say. On a terminal, TERM is the caller's: it is
/// the caller's that shows what is printed.
fn environment_for(args: &Args, process: &ProcessOptions, record: &Record) -> Result<Vec<OsString>> {
    let fact = record.read_bytes("environment")?.context("the container's record has no environment")?;
    let variables = facts::split(&fact).into_iter().map(|variable| OsString::from_vec(variable.to_vec()));
    let mut variables = variables.collect();
    if args.terminal && env::var_os("TERM").is_some() {
        environment::set(&mut variables, OsStr::new("TERM"));
    }
    process.environment(variables)
}

/// A command, and the container that it is to enter.
struct Entry<'a> {
    args: &'a Args,
    process1: Process1,
    groups: Groups,
    process: ProcessOptions,
    environment: Vec<OsString>,
}

impl Entry<'_> {
    /// Runs the command, which dies with us. Returns its status.
    fn stay(&self) -> Result<u8> {
        let (interactive, terminal) = (self.args.interactive, self.args.terminal);
        let options = Options { interactive, terminal, hostname: None, log_level: None };
        // From here on, what is made is undone when it goes out of scope, the last first.
        let signals = HeldSignals::hold()?;
        let (streams, mut carriers) = Streams::make(&options, &signals)?;
        // Nobody reads it: the child says itself what is wrong. That this end is open tells it that we live.
        let (_outcome, report) = report::make()?;
        let mut command = child::spawn(CloneFlags::empty(), || self.inside(Some(&streams), &report))?;
        drop((streams, report));
        carriers.wait_for_foreground(&signals)?;
        command.start(&signals)?;
        carriers.wait(&mut command, &signals)
    }

    /// Starts the command, and leaves it alone.
    fn leave(&self) -> Result<u8> {
        let (mut outcome, report) = report::make()?;
        debug!("fork()");
        // SAFETY: we run one thread, so the child is a whole copy of us, with no lock half held.
        match unsafe { fork() }.context("forking a process that enters")? {
            ForkResult::Parent { .. } => drop(report),
            ForkResult::Child => {
                let Err(error) = self.inside(None, &report);
                exit(report.tell(&error).into())
            }
        }
        let Some((status, line)) = outcome.read()? else { return Ok(0) };
        messages::say(&line);
        Ok(status)
    }

    /// In the child: enters the container, and has the command forked there. Without `streams`, it has nothing to read and
    /// nowhere to write.
    fn inside(&self, streams: Option<&Streams>, report: &Report) -> Result<Infallible> {
        self.groups.join()?; // first, so that all we do counts, and while the cgroup files are in sight
        match streams {
            Some(streams) => streams.enter()?,
            None => enter::without_streams()?,
        }
        // Now, with the host's /dev: in the container, anything can be at /dev/null.
        if !self.args.interactive && !self.args.terminal {
            descriptors::stdin_from_null()?;
        }
        enter::enter(&self.process1, report.descriptor())?;
        if let Some(Streams::Terminal(_, size)) = streams {
            enter::open_terminal(*size)?;
        }
        enter::fork_command(!self.args.detach, report, || {
            if let Some(streams) = streams {
                streams.take_terminal()?;
            }
            let mut environment = self.environment.clone();
            self.process.become_user(&mut environment, report)?;
            ch01_run::exec::exec(&self.args.words[1..], &environment)
        })
    }
}
