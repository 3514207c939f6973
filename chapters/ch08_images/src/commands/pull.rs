//! `pull`: an image of a registry comes into the store.

use anyhow::Result;
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;

use crate::credentials::ConfigFile;
use crate::image::Image;
use crate::name::Name;
use crate::platform::Platform;
use crate::progress::{Progress, Words};
use crate::pull::look_up;
use crate::registry::{Registry, keep_secrets};
use crate::store::Store;

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// For another kind of machine [default: this one]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Without encryption. Registries on this machine are always asked so
    #[arg(long)]
    plain_http: bool,
    #[command(flatten)]
    common: Common,
    /// The image: [HOST[:PORT]/]PATH[:TAG], or with @DIGEST
    name: Name,
}

/// All that `pull` does, in order.
pub fn pull(args: Args) -> Result<u8> {
    args.common.start()?;
    keep_secrets();
    let store = Store::open(&state::root()?)?;
    store.tidy()?;
    let _in_use = store.share()?;
    let progress = Progress::new(if args.quiet { Words::Nowhere } else { Words::Stdout });
    fetch(&store, &args.name, args.platform, args.plain_http, &progress)?;
    // Also if nothing else is told.
    Progress::new(Words::Stdout).say(&args.name.full())?;
    Ok(0)
}

/// Makes an image of the store what its registry has by its name now. Hold the store's lock.
pub fn fetch(
    store: &Store,
    name: &Name,
    platform: Option<Platform>,
    plain_http: bool,
    progress: &Progress,
) -> Result<Image> {
    let credentials = ConfigFile::of_caller()?.find(&name.registry);
    let registry = Registry::new(&name.registry, plain_http, credentials)?;
    let offer = look_up(&registry, name, platform)?;
    progress.say(&format!("{}: Pulling from {}", name.which, name.repository))?;
    let before = store.tagged(name)?;
    let image = offer.accept(&registry, name, store, progress)?;
    progress.say(&format!("Digest: {}", offer.digest))?;
    let same = before == Some(image.digest);
    let status = if same { "Image is up to date" } else { "Downloaded newer image" };
    progress.say(&format!("Status: {status} for {name}"))?;
    Ok(image)
}
