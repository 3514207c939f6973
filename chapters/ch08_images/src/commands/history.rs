//! `history`: how an image was made, as far as it tells.

use anyhow::Result;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::{listing, output, table};

use crate::image::Image;
use crate::shown;
use crate::store::Store;

/// What `history` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave nothing out
    #[arg(long)]
    no_trunc: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
    /// The image: a name, or the beginning of an id
    image: String,
}

/// All that `history` does, in order.
pub fn history(args: &Args) -> Result<u8> {
    let store = Store::open(&args.common.begin()?)?;
    let (_, image) = {
        let _lock = store.share()?;
        store.find(&args.image)?
    };
    let rows = rows(&image, args.no_trunc);
    let text = if args.quiet {
        rows.iter().map(|row| format!("{}\n", row[0])).collect()
    } else {
        table::text(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)
    };
    output::print(text.as_bytes())?;
    Ok(0)
}

/// The last step first. Only that one has made an image that is still known.
fn rows(image: &Image, whole: bool) -> Vec<[String; 5]> {
    let mut layers = image.manifest.layers.iter();
    let mut rows = Vec::new();
    for step in &image.config.history {
        let size = if step.empty_layer { 0 } else { layers.next().map_or(0, |layer| layer.size) };
        let by = step.created_by.clone().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let by = if whole { by } else { listing::cut(&by, 45) };
        let created = shown::ago(shown::created(step.created.as_deref()));
        let comment = step.comment.clone().unwrap_or_default();
        rows.push(["<missing>".to_string(), created, by, shown::size(size), comment]);
    }
    rows.reverse();
    if let Some(last) = rows.first_mut() {
        last[0] = if whole { image.id().to_string() } else { image.id().short() };
    }
    rows
}
