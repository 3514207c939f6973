//! What `run` was asked for: options in Docker's words, kept with the container so that `start` can ask for the same again.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use ch01_run::child::Child;
use ch01_run::exec::environment;
use ch01_run::namespaces;
use ch01_run::options::Options;
use ch02_cgroups::limits::Limits;
use ch03_pivot_root::image;
use ch05_volumes::spec::{self, Volume};
use ch06_init::surroundings::Surroundings;
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use log::debug;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::process::ProcessOptions;
use crate::record::Record;
use crate::restart::Policy;
use crate::{facts, lowers, names, signal_name};

/// The options of `run`, and its command.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Those of chapter 1.
    #[command(flatten)]
    pub options: Options,
    /// Those of chapter 2.
    #[command(flatten)]
    pub limits: Limits,
    /// The image: a directory [default: the busybox image]
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// Mount SRC of the host on DST in the container, read-only or not; may be given again
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro|rw]")]
    pub volumes: Vec<OsString>,
    /// Let nobody write in the container's root; volumes, tmpfs and /dev stay as they are
    #[arg(long)]
    pub read_only: bool,
    /// Those of chapter 6.
    #[command(flatten)]
    pub surroundings: Surroundings,
    /// Those of this chapter, for the command.
    #[command(flatten)]
    pub process: ProcessOptions,
    /// Those of this chapter, for the container.
    #[command(flatten)]
    pub keeping: Keeping,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// How long `stop` waits where nobody has said it, in seconds.
pub const STOP_TIMEOUT: i64 = 10;

/// How a container is kept.
#[derive(Debug, clap::Args)]
pub struct Keeping {
    /// Print the container's id and leave it to itself
    #[arg(short, long)]
    pub detach: bool,
    /// A name for the container
    #[arg(long, value_parser = names::parse)]
    pub name: Option<String>,
    /// Remove the container when it has ended
    #[arg(long = "rm")]
    pub remove: bool,
    /// Write the container's id to FILE, which must be new
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Start it again when it has ended
    #[arg(long, value_name = "no|on-failure[:N]|always", default_value = "no")]
    pub restart: Policy,
    /// What `stop` sends first
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal_name::parse)]
    pub stop_signal: i32,
    /// How long `stop` waits for the end before it kills, in seconds; -1: for ever
    #[arg(long, value_name = "SECONDS", default_value_t = STOP_TIMEOUT, allow_hyphen_values = true)]
    pub stop_timeout: i64,
}

/// For words that were taken apart once before.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Again {
    #[command(flatten)]
    asked: Asked,
}

impl Asked {
    /// What the container of this record was asked for.
    pub fn of(record: &Record) -> Result<Asked> {
        let words = record.read_bytes("arguments")?;
        let words = words.with_context(|| format!("container {} has no fact \"arguments\"", record.id()))?;
        Asked::parse(facts::split(&words).into_iter().map(OsStr::from_bytes))
    }

    /// Takes words apart that could stand after `run`.
    pub fn parse<'a>(words: impl Iterator<Item = &'a OsStr>) -> Result<Asked> {
        // Made once: `ps` takes the words of hundreds apart, and most of the time would go into the making.
        static PARSER: LazyLock<Mutex<Command>> = LazyLock::new(|| Mutex::new(Again::command()));
        let mut parser = PARSER.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = parser.try_get_matches_from_mut([OsStr::new("run")].into_iter().chain(words))?;
        Ok(Again::from_arg_matches(&matches)?.asked)
    }

    /// Fails if options contradict each other.
    pub fn ensure_sound(&self) -> Result<()> {
        let keeps = self.keeping.restart != Policy::No;
        ensure!(
            !(keeps && self.keeping.remove),
            "--rm and --restart: what is removed can't be started again"
        );
        Ok(())
    }
}

/// Has a child made by what it's given, and that may be somewhere else.
pub type Birth = fn(&Plan, &Record, &mut dyn FnMut() -> Result<Child>) -> Result<Child>;

/// All that is known of a container before it is made.
#[derive(Debug)]
pub struct Plan {
    /// The options.
    pub asked: Asked,
    /// The container's id.
    pub id: String,
    /// The state directory.
    pub state: PathBuf,
    /// The directories that its files lie on, the topmost first. Here it's one, the image.
    pub lowers: Vec<PathBuf>,
    /// The volumes, checked.
    pub volumes: Vec<Volume>,
    /// The command's environment.
    pub environment: Vec<OsString>,
    /// The namespaces of its own. In this chapter all that there are.
    pub namespaces: CloneFlags,
    /// Where its child is born. In this chapter it's where we are.
    pub birth: Birth,
    /// What else is to be done for its child in there, before the command begins. It returns what is to stay open as long as
    /// the container runs. In this chapter it's nothing.
    pub before_start: fn(&Plan, &Record, Pid) -> Result<Vec<OwnedFd>>,
    /// What a new record is to say of all that, by the names of the facts.
    pub facts: Vec<(&'static str, Vec<u8>)>,
}

impl Plan {
    /// The plan of a new container, whose image is the directory that was asked for, or busybox.
    pub fn of(asked: Asked, id: String, state: PathBuf) -> Result<Plan> {
        let words: Vec<_> = env::args_os().skip(2).collect(); // after the program's name and `run`
        let base = environment(asked.options.hostname_or(&id));
        let plan = Plan::without_image(asked, &words, base, id, state)?;
        let (name, image) = match &plan.asked.rootfs {
            Some(directory) => (directory.display().to_string(), image::checked(directory)?),
            None => ("busybox".to_string(), image::busybox(&plan.state)?),
        };
        Ok(plan.on(&name, vec![image]))
    }

    /// All of a plan but its image, which may have to be made: first everything else is looked at that can be wrong. The
    /// `words` are those that were `asked`, and the environment is made of the `base`.
    pub fn without_image(
        asked: Asked,
        words: &[OsString],
        base: Vec<OsString>,
        id: String,
        state: PathBuf,
    ) -> Result<Plan> {
        asked.ensure_sound()?;
        let environment = asked.process.environment(base)?;
        let volumes = spec::parse_all(&asked.volumes)?;
        let here = env::current_dir().context("looking where we are")?;
        let facts = vec![
            ("arguments", facts::join(words.iter().map(|word| word.as_bytes()))),
            ("environment", facts::join(environment.iter().map(|one| one.as_bytes()))),
            ("directory", here.into_os_string().into_vec()),
        ];
        Ok(Plan {
            asked,
            id,
            state,
            lowers: Vec::new(),
            volumes,
            environment,
            namespaces: namespaces::OWN,
            birth: |_, _, spawn| spawn(),
            before_start: |_, _, _| Ok(Vec::new()),
            facts,
        })
    }

    /// The same, with an image: what it's called, and what it consists of.
    pub fn on(mut self, name: &str, lowers: Vec<PathBuf>) -> Plan {
        self.facts.push(("image", format!("{name}\n").into_bytes()));
        Plan { lowers, ..self }
    }

    /// The plan of a container that has been there before.
    pub fn again(record: &Record, state: PathBuf) -> Result<Plan> {
        if let Some(directory) = record.read_bytes("directory")? {
            let directory = Path::new(OsStr::from_bytes(&directory));
            debug!("chdir({directory:?})");
            // It may be gone. Then relative paths lead nowhere, which is told of them.
            let _ = env::set_current_dir(directory);
        }
        let asked = Asked::of(record)?;
        let environment = record.read_bytes("environment")?.unwrap_or_default();
        let environment = facts::split(&environment).into_iter().map(|one| OsStr::from_bytes(one).into());
        let lowers = lowers::read(record)?;
        for lower in &lowers {
            // Where it's missing, the kernel would only say that something is.
            lower.metadata().with_context(|| format!("looking for the image {}", lower.display()))?;
        }
        Ok(Plan {
            volumes: spec::parse_all(&asked.volumes)?,
            lowers,
            environment: environment.collect(),
            namespaces: namespaces::OWN,
            birth: |_, _, spawn| spawn(),
            before_start: |_, _, _| Ok(Vec::new()),
            id: record.id().to_string(),
            facts: Vec::new(), // they are there
            asked,
            state,
        })
    }

    /// The container's hostname.
    pub fn hostname(&self) -> &OsStr {
        self.asked.options.hostname_or(&self.id)
    }
}
