//! `save`: images into an archive.

use std::fs::{self, File};
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ch01_run::id;
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;
use log::debug;

use crate::archive;
use crate::store::Store;

/// What `save` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// The images: names, or the beginnings of ids
    #[arg(required = true)]
    images: Vec<String>,
}

/// All that `save` does, in order.
pub fn save(args: &Args) -> Result<u8> {
    args.common.start()?;
    if args.output.is_none() && stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal: name a file with -o, or redirect");
    }
    let store = Store::open(&state::root()?)?;
    let _lock = store.share()?;
    let images: Vec<_> = args.images.iter().map(|word| store.find(word)).collect::<Result<_>>()?;
    match &args.output {
        Some(path) => write_whole(path, |file| archive::save(&store, &images, file))?,
        None => {
            let mut out = BufWriter::with_capacity(64 * 1024, stdout().lock());
            archive::save(&store, &images, &mut out)?;
            out.flush().context("writing to stdout")?;
        }
    }
    Ok(0)
}

/// Lets `fill` write a file, that has its name when all of it is there. A device or a pipe is written to as it is.
fn write_whole(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let is_special = path.metadata().is_ok_and(|data| !data.is_file());
    let new = match path.file_name() {
        _ if is_special => path.to_path_buf(),
        Some(name) => path.with_file_name(format!(".{}.{}", name.display(), id::random()?)),
        None => bail!("{} is no name for a file", path.display()),
    };
    let file =
        File::options().write(true).create(!is_special).mode(0o600).open(&new).with_context(writing)?;
    let mut out = BufWriter::with_capacity(64 * 1024, file);
    let mut written = fill(&mut out).and_then(|()| out.flush().with_context(writing));
    if !is_special {
        debug!("rename({new:?}, {path:?})");
        written = written.and_then(|()| fs::rename(&new, path).with_context(writing));
        let _ = fs::remove_file(&new); // it's gone if it has its name
    }
    written
}
