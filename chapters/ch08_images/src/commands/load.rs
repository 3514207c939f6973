//! `load`: images from an archive, or from a directory with an image layout.

use std::fs::File;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::output;

use crate::archive;
use crate::files::Files;
use crate::store::Store;

/// What `load` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive, plain or made smaller by gzip or zstd, or a directory [default: stdin]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only what goes wrong
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// All that `load` does, in order. Names are given when all images are there, so that it's all of them or none.
pub fn load(args: &Args) -> Result<u8> {
    args.common.start()?;
    let input = args.input.as_deref().filter(|path| *path != Path::new("-"));
    let is_typed = input.is_none() && stdin().is_terminal();
    ensure!(!is_typed, "an archive is to be read from stdin, which is a terminal: name one with -i");
    let store = Store::open(&state::root()?)?;
    store.tidy()?;
    let _lock = store.share()?;
    let loading = || match input {
        Some(path) => format!("loading {}", path.display()),
        None => "loading from stdin".to_string(),
    };
    let files = open(&store, input).with_context(loading)?;
    let loaded = archive::load(&store, &files).with_context(loading)?;
    for image in &loaded {
        let line = match &image.name {
            Some(name) => {
                store.tag(name, &image.manifest)?;
                format!("Loaded image: {name}")
            }
            None => format!("Loaded image ID: {}", image.id),
        };
        if !args.quiet {
            output::print_line(&line)?;
        }
    }
    Ok(0)
}

fn open(store: &Store, input: Option<&Path>) -> Result<Files> {
    match input {
        Some(path) if path.is_dir() => Ok(Files::Directory(path.to_path_buf())),
        Some(path) => Files::of_tar(store, File::open(path)?),
        None => Files::of_tar(store, stdin()),
    }
}
