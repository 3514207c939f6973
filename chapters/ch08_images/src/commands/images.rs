//! `images`: which images there are.

use anyhow::{Result, bail};
use ch01_run::messages;
use ch03_pivot_root::state;
use ch07_lifecycle::common::Common;
use ch07_lifecycle::{output, table, time};
use serde_json::json;

use crate::name::Name;
use crate::shown::{self, NONE, Row};
use crate::store::Store;

/// What `images` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nothing: Docker hides what it once made on the way to an image, and here nothing is hidden
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// The digests by which registries know them, too
    #[arg(long)]
    digests: bool,
    /// table, or json: an object on each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    #[command(flatten)]
    common: Common,
    /// Only those of this repository, or with this name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

/// All that `images` does, in order.
pub fn images(args: &Args) -> Result<u8> {
    args.common.start()?;
    let is_json = match args.format.as_str() {
        "table" => false,
        "json" => true,
        other => bail!("--format {other:?}: there are table and json"),
    };
    let wanted: Option<Name> = args.name.as_ref().map(|name| name.parse()).transpose()?;
    let has_tag = args.name.as_ref().is_some_and(|name| is_exact(name));
    let store = Store::open(&state::root()?)?;
    let (mut rows, broken) = {
        let _lock = store.share()?;
        shown::rows(&store)?
    };
    if let Some(wanted) = &wanted {
        rows.retain(|row| row.name.as_ref().is_some_and(|name| is_meant(name, wanted, has_tag)));
    }
    let lines: String = match (args.quiet, is_json) {
        (true, _) => rows.iter().map(|row| format!("{}\n", id(row, args.no_trunc))).collect(),
        (false, true) => rows.iter().map(|row| in_json(row, args.no_trunc)).collect(),
        (false, false) => in_columns(&rows, args),
    };
    output::print(lines.as_bytes())?;
    for name in &broken {
        messages::say(&format!(
            "the image {name} is damaged, or not whole: pull or load it again, or rmi it"
        ));
    }
    Ok(u8::from(!broken.is_empty()))
}

/// Whether a name says which image of a repository. A colon before the last slash is a port's.
fn is_exact(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']))
}

fn is_meant(name: &Name, wanted: &Name, exactly: bool) -> bool {
    let same = (&name.registry, &name.repository) == (&wanted.registry, &wanted.repository);
    same && (!exactly || name.which == wanted.which)
}

fn in_columns(rows: &[Row], args: &Args) -> String {
    let cells = |row: &Row| {
        let created = shown::ago(shown::created(row.image.config.created.as_deref()));
        (repository(row), tag(row), id(row, args.no_trunc), created, shown::size(row.image.size()))
    };
    if args.digests {
        let with = |row: &Row| {
            let (repository, tag, id, created, size) = cells(row);
            [repository, tag, row.image.digest.to_string(), id, created, size]
        };
        let head = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
        return table::text(head, &rows.iter().map(with).collect::<Vec<_>>());
    }
    let without = |row: &Row| <[String; 5]>::from(cells(row));
    table::text(
        ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"],
        &rows.iter().map(without).collect::<Vec<_>>(),
    )
}

/// A line of JSON, with Docker's keys.
fn in_json(row: &Row, whole: bool) -> String {
    let created = shown::created(row.image.config.created.as_deref());
    let line = json!({
        "Repository": repository(row),
        "Tag": tag(row),
        "Digest": row.image.digest,
        "ID": id(row, whole),
        "CreatedAt": created.map_or("N/A".to_string(), time::rfc3339),
        "CreatedSince": shown::ago(created),
        "Size": shown::size(row.image.size()),
    });
    format!("{line}\n")
}

fn repository(row: &Row) -> String {
    row.name.as_ref().map_or(NONE.to_string(), Name::familiar)
}

fn tag(row: &Row) -> String {
    row.name.as_ref().and_then(Name::tag).unwrap_or(NONE).to_string()
}

fn id(row: &Row, whole: bool) -> String {
    let id = row.image.id();
    if whole { id.to_string() } else { id.short() }
}
