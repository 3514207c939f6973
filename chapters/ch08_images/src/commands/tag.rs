//! `tag`: one more name for an image.

use anyhow::Result;
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;

use crate::name::new_name;
use crate::store::Store;

/// What `tag` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The image: a name, or the beginning of an id
    #[arg(value_name = "SRC")]
    image: String,
    /// The new name
    #[arg(value_name = "DST")]
    name: String,
}

/// All that `tag` does, in order.
pub fn tag(args: &Args) -> Result<u8> {
    args.common.start()?;
    let name = new_name(&args.name)?;
    let store = Store::open(&state::root()?)?;
    let _lock = store.share()?;
    let (_, image) = store.find(&args.image)?;
    store.tag(&name, &image.digest)?;
    Ok(0)
}
