//! `import`: a tar of a whole file system becomes an image of one layer.

use std::fs::File;
use std::io::{self, IsTerminal, Read, stdin};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::{output, time};

use crate::decompress::largest_image;
use crate::formats::{CONFIG, Descriptor, History, ImageConfig, RootFs};
use crate::image::Image;
use crate::instructions;
use crate::name::new_name;
use crate::new_image::{packed_how, write_image};
use crate::platform::this_machine;
use crate::store::Store;

/// What `import` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How it is to be run, as a Dockerfile says it: CMD ["sh"]; may be given again
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A few words for its history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    common: Common,
    /// The tar, plain or made smaller by gzip or zstd, or - for stdin
    file: String,
    /// What to call it
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

/// All that `import` does, in order.
pub fn import(args: &Args) -> Result<u8> {
    args.common.start()?;
    let name = args.name.as_deref().map(new_name).transpose()?;
    let mut config = blank();
    instructions::apply(&mut config.config, &args.changes)?;
    let comment = args.message.clone().unwrap_or(format!("Imported from {}", args.file));
    let created = config.created.clone();
    config.history = vec![History { created, comment: Some(comment), ..History::default() }];
    let store = Store::open(&state::root()?)?;
    store.tidy()?;
    let _lock = store.share()?;
    let image = add(&store, open(&args.file)?, config).with_context(|| format!("importing {}", args.file))?;
    if let Some(name) = &name {
        store.tag(name, &image.digest)?;
    }
    output::print_line(&image.id().to_string())?;
    Ok(0)
}

/// The config of an image of which nothing is known yet.
pub fn blank() -> ImageConfig {
    let here = this_machine();
    let rootfs = RootFs { kind: "layers".to_string(), diff_ids: Vec::new() };
    let created = Some(time::rfc3339(time::moment()));
    ImageConfig { architecture: here.architecture, os: here.os, created, rootfs, ..ImageConfig::default() }
}

fn open(file: &str) -> Result<Box<dyn Read>> {
    if file == "-" {
        ensure!(!stdin().is_terminal(), "a tar stream is to be read from stdin, which is a terminal");
        return Ok(Box::new(stdin()));
    }
    Ok(Box::new(File::open(Path::new(file)).with_context(|| format!("opening {file}"))?))
}

/// Keeps the stream as it came, as the only layer of an image, and unpacks it: what is no tar of files makes no image.
fn add(store: &Store, mut stream: Box<dyn Read>, mut config: ImageConfig) -> Result<Image> {
    let mut incoming = store.incoming()?;
    io::copy(&mut stream, &mut incoming).context("copying the tar stream")?;
    let blob = incoming.park()?;
    let (media_type, diff_id) = packed_how(&blob.path, &blob.digest)?;
    store.unpack(&blob.path, &diff_id, &diff_id, &[], &mut largest_image()?)?;
    blob.keep(store)?;
    config.rootfs.diff_ids = vec![diff_id];
    let bytes = serde_json::to_vec(&config).context("writing a config")?;
    let id = store.add(&bytes)?;
    let layer = Descriptor::of(media_type, blob.digest, blob.length);
    write_image(store, Descriptor::of(CONFIG, id, bytes.len() as u64), vec![layer])
}
