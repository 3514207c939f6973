//! `commit`: an image of a container's image, and on top what the container has changed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use ch01_run::exec::environment;
use ch03_pivot_root::state;
use ch07_lifecycle::asked::Asked;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::record::Record;
use ch07_lifecycle::{environment as variables, facts, find, output, signal_name, time};
use clap::ArgAction;
use nix::libc::SIGTERM;

use crate::committed;
use crate::formats::{CONFIG, Descriptor, Execution, History, LAYER_GZIP};
use crate::image::Image;
use crate::instructions;
use crate::name::new_name;
use crate::new_image::write_image;
use crate::store::Store;

/// What `commit` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who has made it, such as "Anna <anna@example.org>"
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// How it is to be run, as a Dockerfile says it: CMD ["sh"]; may be given again
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A few words for its history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Let the container stand still meanwhile
    #[arg(short, long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true,
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pause: bool,
    #[command(flatten)]
    common: Common,
    /// The container: its name, its id, or the beginning of that
    container: OsString,
    /// What to call the image
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

/// All that `commit` does, in order.
pub fn commit(args: &Args) -> Result<u8> {
    args.common.start()?;
    let name = args.name.as_deref().map(new_name).transpose()?;
    let state = state::root()?;
    let record = find::one(&state, &args.container)?;
    let store = Store::open(&state)?;
    store.tidy()?;
    let _lock = store.share()?;
    let Image { mut manifest, mut config, .. } = image_of(&store, &record)?;
    as_container(&mut config.config, &record)?;
    instructions::apply(&mut config.config, &args.changes)?;
    let (layer, diff_id) = committed::layer(&store, &record, args.pause)?;
    config.rootfs.diff_ids.push(diff_id);
    manifest.layers.push(layer);
    config.created = Some(time::rfc3339(time::moment()));
    config.author = args.author.clone();
    config.history.push(History {
        created: config.created.clone(),
        author: args.author.clone(),
        comment: args.message.clone(),
        ..History::default()
    });
    let bytes = serde_json::to_vec(&config).context("writing a config")?;
    let id = store.add(&bytes)?;
    manifest.layers.iter_mut().for_each(speak_oci);
    let image = write_image(&store, Descriptor::of(CONFIG, id, bytes.len() as u64), manifest.layers)?;
    if let Some(name) = &name {
        store.tag(name, &image.digest)?;
    }
    output::print_line(&image.id().to_string())?;
    Ok(0)
}

/// The image that a container was made of.
fn image_of(store: &Store, record: &Record) -> Result<Image> {
    let digest = record.read("image-id")?;
    let digest = digest.with_context(|| {
        format!("container {} is made of a directory, and commit needs an image", record.id())
    })?;
    store.image(&digest.parse()?)
}

/// What the image says becomes what its container was run with.
fn as_container(image: &mut Execution, record: &Record) -> Result<()> {
    let asked = Asked::of(record)?;
    let entrypoint = record.read_bytes("entrypoint")?.unwrap_or_default();
    image.entrypoint = texts(facts::split(&entrypoint))?;
    image.cmd = texts(asked.command.iter().skip(image.entrypoint.len()).map(|word| word.as_bytes()))?;
    image.env = variables_of(image, &asked, record)?;
    if let Some(directory) = &asked.process.workdir {
        image.working_dir = text(directory.as_os_str().as_bytes())?;
    }
    if let Some(user) = &asked.process.user {
        image.user = user.to_string();
    }
    let stop_signal = asked.keeping.stop_signal;
    if signal_name::parse(&image.stop_signal).unwrap_or(SIGTERM) != stop_signal {
        image.stop_signal = stop_signal.to_string();
    }
    Ok(())
}

/// The container's variables, but for those that every container has: the hostname was its own, and the terminal its
/// caller's.
fn variables_of(image: &Execution, asked: &Asked, record: &Record) -> Result<Vec<String>> {
    let usual = environment(asked.options.hostname_or(record.id()));
    let said: Vec<OsString> = image.env.iter().map(OsString::from).chain(asked.process.env.clone()).collect();
    let fact = record.read_bytes("environment")?.unwrap_or_default();
    let mut variables = texts(facts::split(&fact))?;
    variables.retain(|variable| {
        let name = variable.split('=').next().unwrap_or_default();
        let is_usual = name == "TERM" || usual.iter().any(|usual| *usual == **variable);
        !is_usual || variables::has(&said, name)
    });
    Ok(variables)
}

fn texts<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>> {
    words.into_iter().map(text).collect()
}

fn text(word: &[u8]) -> Result<String> {
    let word = OsStr::from_bytes(word);
    word.to_str()
        .map(str::to_string)
        .with_context(|| format!("{word:?} is no text, and a config has only that"))
}

/// The new manifest is in OCI's words, and its layers have to be: Docker's mean the same.
fn speak_oci(layer: &mut Descriptor) {
    if layer.media_type.ends_with("tar.gzip") {
        layer.media_type = LAYER_GZIP.to_string();
    }
}
