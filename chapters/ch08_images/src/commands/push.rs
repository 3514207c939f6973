//! `push`: an image of the store goes to a registry.

use anyhow::{Result, bail};
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;

use crate::credentials::ConfigFile;
use crate::name::Name;
use crate::progress::{Progress, Words};
use crate::push::Sending;
use crate::registry::{Registry, keep_secrets};
use crate::store::Store;

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Without encryption. Registries on this machine are always asked so
    #[arg(long)]
    plain_http: bool,
    #[command(flatten)]
    common: Common,
    /// The image, by the name that it is to have there: [HOST[:PORT]/]PATH[:TAG]. `tag` gives it one
    name: Name,
}

/// All that `push` does, in order.
pub fn push(args: &Args) -> Result<u8> {
    args.common.start()?;
    keep_secrets();
    let store = Store::open(&state::root()?)?;
    let _in_use = store.share()?;
    let name = &args.name;
    let Some(tag) = name.tag() else { bail!("an image is pushed by a tag, not by a digest: {name}") };
    let Some(digest) = store.tagged(name)? else { bail!("No such image: {name}") };
    let image = store.image(&digest)?;
    let progress = Progress::new(if args.quiet { Words::Nowhere } else { Words::Stdout });
    let credentials = ConfigFile::of_caller()?.find(&name.registry);
    let registry = Registry::new(&name.registry, args.plain_http, credentials)?;
    progress.say(&format!("The push refers to repository [{}/{}]", name.registry, name.repository))?;
    let size = Sending { registry: &registry, name, store: &store }.send(&image, &progress)?;
    progress.say(&format!("{tag}: digest: {digest} size: {size}"))?;
    if args.quiet {
        Progress::new(Words::Stdout).say(&name.full())?;
    }
    Ok(0)
}
