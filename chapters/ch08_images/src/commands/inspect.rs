//! `inspect`: all that is known of a container or an image, as JSON with Docker's keys.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ch01_run::{errors, messages};
use ch03_pivot_root::state;
use ch07_lifecycle::commands::inspect::all_of;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::record::Record;
use ch07_lifecycle::{find, output};
use serde_json::{Value, json};

use crate::image::Image;
use crate::name::Which;
use crate::store::Store;

/// What `inspect` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// json, which it is anyhow
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// container or image, where a word could mean both
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    #[command(flatten)]
    common: Common,
    /// The containers and images: names, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER|IMAGE")]
    words: Vec<OsString>,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Chapter 7's.
    Container,
    /// This chapter's.
    Image,
}

/// What is known of a container, with more.
type More = fn(&Record, Value) -> Result<Value>;

/// All that `inspect` does, in order.
pub fn inspect(args: &Args) -> Result<u8> {
    inspect_as(args, |_, known| Ok(known))
}

/// The same, and of each container it tells `more`.
pub fn inspect_as(args: &Args, more: More) -> Result<u8> {
    args.common.start()?;
    if args.format != "json" {
        bail!("--format {:?}: there is only json; jq picks out of it what you want", args.format);
    }
    let state = state::root()?;
    let store = Store::open(&state)?;
    let _lock = store.share()?;
    let (mut known, mut status) = (Vec::new(), 0);
    for word in &args.words {
        match object(&state, &store, word, args.kind, more) {
            Ok(facts) => known.push(facts),
            Err(error) => {
                messages::say(&errors::one_line(&error));
                status = 1;
            }
        }
    }
    output::print_line(&format!("{:#}", Value::Array(known)))?;
    Ok(status)
}

/// A container, or else an image.
fn object(state: &Path, store: &Store, word: &OsStr, kind: Option<Kind>, more: More) -> Result<Value> {
    let is_missing = |error: &anyhow::Error| error.to_string().starts_with("No such ");
    if kind != Some(Kind::Image) {
        match find::one(state, word).and_then(|record| more(&record, container(store, &record)?)) {
            Err(error) if kind.is_none() && is_missing(&error) => {}
            known => return known,
        }
    }
    let nothing = || format!("No such object: {}", word.display());
    match store.find(word.to_str().with_context(nothing)?) {
        Err(error) if kind.is_none() && is_missing(&error) => bail!(nothing()),
        found => image(store, &found?.1),
    }
}

/// What chapter 7 tells, and what only its image says: `Image` is an id, and the name stands in `Config`.
fn container(store: &Store, record: &Record) -> Result<Value> {
    let mut known = all_of(record)?;
    if let Some(manifest) = record.read("image-id")? {
        let name = record.read("image")?.unwrap_or_default();
        (known["Image"], known["Config"]["Image"]) = (json!(name), json!(name));
        // A damaged image hides no container.
        if let Ok(image) = manifest.parse().and_then(|manifest| store.image(&manifest)) {
            known["Image"] = json!(image.id());
            known["Config"]["Labels"] = json!(image.config.config.labels);
        }
    }
    Ok(known)
}

fn image(store: &Store, image: &Image) -> Result<Value> {
    let names = store.names()?.into_iter().filter(|(_, digest)| *digest == image.digest);
    let names: Vec<_> = names.map(|(name, _)| name).collect();
    let tags = names.iter().filter(|name| matches!(name.which, Which::Tag(_))).map(|name| name.to_string());
    let mut digests: Vec<_> =
        names.iter().map(|name| format!("{}@{}", name.familiar(), image.digest)).collect();
    digests.dedup();
    let config = &image.config;
    Ok(json!({
        "Id": image.id(),
        "RepoTags": tags.collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size(),
        "Config": config.config,
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Manifest": {"Digest": image.digest, "Layers": image.manifest.layers},
    }))
}
