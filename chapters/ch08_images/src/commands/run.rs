//! `run`: a command in a new container, which lies on an image.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, stdin};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use ch01_run::exec::environment;
use ch01_run::signals::HeldSignals;
use ch01_run::{descriptors, id, inherited, messages, namespaces};
use ch03_pivot_root::{image, state};
use ch06_init::raw;
use ch07_lifecycle::asked::{Asked, Plan};
use ch07_lifecycle::launch::{Bond, launch};
use ch07_lifecycle::record::Record;
use ch07_lifecycle::{facts, orphans, output};
use clap::ValueEnum;

use crate::anonymous::{self, Volume};
use crate::builtin;
use crate::commands::pull;
use crate::formats::Execution;
use crate::image::Image;
use crate::name::Name;
use crate::progress::{Progress, Words};
use crate::registry::keep_secrets;
use crate::store::Store;
use crate::translation;

/// What `run` is asked for.
#[derive(Debug, clap::Args)]
#[command(override_usage = concat!(env!("CARGO_PKG_NAME"), " run [OPTIONS] IMAGE [COMMAND] [ARG...]"))]
#[command(mut_arg("command", |words| words.value_name("IMAGE").help("The image, but with --rootfs; then the command and its arguments")))]
pub struct Args {
    /// What comes before the command, whatever the image has there
    #[arg(long, value_name = "CMD")]
    entrypoint: Option<OsString>,
    /// When to ask the image's registry for it
    #[arg(long, value_name = "missing|always|never", hide_possible_values = true, default_value = "missing")]
    pull: When,
    /// Those of chapters 1 to 7. The first word of the command is the image, but with --rootfs.
    #[command(flatten)]
    asked: Asked,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    /// If it is not in the store.
    Missing,
    /// Before each container.
    Always,
    /// Never.
    Never,
}

/// What a container is to lie on.
struct Base {
    name: String,
    image: Option<Image>,
    lowers: Vec<PathBuf>,
    volumes: Vec<Volume>,
    /// As long as it's open, the image stays.
    _in_use: Option<File>,
}

impl Base {
    /// How the image wants its containers to be. A directory says nothing.
    fn says(&self) -> &Execution {
        static NOTHING: LazyLock<Execution> = LazyLock::new(Execution::default);
        self.image.as_ref().map_or(&NOTHING, |image| &image.config.config)
    }
}

/// All that `run` does, in order.
pub fn run(args: &Args) -> Result<u8> {
    run_as(args, <[OsString]>::to_vec, |_, plan| Ok(plan))
}

/// The same, where other options were typed as well, which `without_others` takes out, and are added to the plan with
/// what the image says.
pub fn run_as(
    args: &Args,
    without_others: fn(&[OsString]) -> Vec<OsString>,
    planned: impl FnOnce(&Execution, Plan) -> Result<Plan>,
) -> Result<u8> {
    messages::start_log(args.asked.options.log_level)?;
    namespaces::require_root()?;
    inherited::normalize()?;
    descriptors::ensure_no_directory()?;
    let state = state::root()?;
    let mut base = base(args, &state)?;
    let plan = plan(args, without_others, &base, state)?;
    let plan = planned(base.says(), plan)?;
    orphans::sweep(&plan.state)?; // while a signal still ends us at once
    let signals = HeldSignals::hold()?;
    let (options, detach) = (&args.asked.options, args.asked.keeping.detach);
    if options.interactive && options.terminal && !detach && stdin().is_terminal() {
        raw::wait_for_foreground(&signals)?; // in the background nothing has begun
    }
    let bond = if detach { Bond::Detached } else { Bond::Leash };
    let launched = launch(&plan, None, bond, options.interactive, &signals);
    // As long as there is a record, they are that container's: it has ended, or goes on without us.
    if Record::open(&plan.state, &plan.id).directory().try_exists().unwrap_or(true) {
        base.volumes.iter_mut().for_each(Volume::keep);
    }
    let status = launched?;
    if detach && status == 0 {
        output::print_line(&plan.id).context("printing the id")?;
    }
    Ok(status)
}

/// The image, with all its layers unpacked.
fn base(args: &Args, state: &Path) -> Result<Base> {
    if let Some(directory) = &args.asked.rootfs {
        let (name, lowers) = (directory.display().to_string(), vec![image::checked(directory)?]);
        return Ok(Base { name, image: None, lowers, volumes: Vec::new(), _in_use: None });
    }
    let word = args.asked.command.first().and_then(|word| word.to_str()).context("the image has no name")?;
    let store = Store::open(state)?;
    let _lock = store.share()?;
    let image = find(args.pull, word, state, &store)?;
    let lowers = store.lowers(&image)?;
    let in_use = Some(store.hold(&image.digest)?);
    let says = &image.config.config;
    translation::ensure_words(says)?;
    let targets =
        anonymous::targets(says.volumes.keys(), &args.asked.volumes, &args.asked.surroundings.tmpfs)?;
    let volumes = targets.iter().map(|target| Volume::make(state, target, &lowers));
    let volumes = volumes.collect::<Result<_>>()?;
    Ok(Base { name: word.to_string(), image: Some(image), lowers, volumes, _in_use: in_use })
}

/// The image that the word means: from the store, or else from where it can be had.
fn find(pull: When, word: &str, state: &Path, store: &Store) -> Result<Image> {
    if pull != When::Always
        && let Some((_, image)) = store.look_up(word)?
    {
        return Ok(image);
    }
    let name: Name = word.parse()?;
    if builtin::is_ours(&name) && pull != When::Always {
        return builtin::make(state, store);
    }
    if pull == When::Never {
        bail!("No such image: {name}");
    }
    let progress = Progress::new(Words::Stderr);
    if pull == When::Missing {
        progress.say(&format!("Unable to find image '{name}' locally"))?;
    }
    keep_secrets();
    pull::fetch(store, &name, None, false, &progress)
}

/// What was typed, and what the image says, as chapter 7 has it.
fn plan(
    args: &Args,
    without_others: fn(&[OsString]) -> Vec<OsString>,
    base: &Base,
    state: PathBuf,
) -> Result<Plan> {
    let typed: Vec<_> = env::args_os().skip(2).collect(); // after the program's name and `run`
    let options = &typed[..typed.len().saturating_sub(args.asked.command.len())];
    let options = translation::without(&translation::OURS, &without_others(options));
    let says = base.says();
    let words = &args.asked.command[usize::from(base.image.is_some())..]; // without the image's name
    let command = translation::command(says, args.entrypoint.as_deref(), words)?;
    let volumes = base.volumes.iter().map(Volume::option);
    let words = translation::words(says, volumes, options, &command);
    let asked = Asked::parse(words.iter().map(OsString::as_os_str)).context("what the image says")?;
    let id = id::random()?;
    let variables = translation::environment(says, environment(asked.options.hostname_or(&id)));
    let plan = Plan::without_image(asked, &words, variables, id, state)?;
    let mut plan = plan.on(&base.name, base.lowers.clone());
    if let Some(image) = &base.image {
        plan.facts.push(("image-id", format!("{}\n", image.digest).into_bytes()));
        let entrypoint = translation::entrypoint(says, args.entrypoint.as_deref());
        plan.facts.push(("entrypoint", facts::join(entrypoint.iter().map(|word| word.as_bytes()))));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn the_usage_is_dockers() {
        let usage = Args::augment_args(Command::new("run")).render_usage().to_string();
        assert_eq!(usage, "Usage: ch08_images run [OPTIONS] IMAGE [COMMAND] [ARG...]");
    }
}
