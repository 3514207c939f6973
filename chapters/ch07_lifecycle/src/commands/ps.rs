//! `ps`: which containers there are, and how they are.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ch01_run::messages;
use serde_json::json;

use crate::common::Common;
use crate::listing::{self, Listed};
use crate::{orphans, output, record, table, time};

/// What `ps` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// The N that were made last, whether they run or not
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// The one that was made last
    #[arg(short, long)]
    latest: bool,
    /// Leave nothing out
    #[arg(long)]
    no_trunc: bool,
    /// table, or json: an object on each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Only those whose name has this in it, whose id begins so, or whose status is this; may be given again
    #[arg(short, long, value_name = "name=|id=|status=", value_parser = filter)]
    filter: Vec<(Field, String)>,
    #[command(flatten)]
    common: Common,
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Id,
    Status,
}

/// What the column PORTS says of a container, where there is one.
pub type Ports = fn(&Listed) -> String;

/// All that `ps` does, in order.
pub fn ps(args: &Args) -> Result<u8> {
    ps_as(args, None)
}

/// The same, with that column if somebody knows what to say there.
pub fn ps_as(args: &Args, ports: Option<Ports>) -> Result<u8> {
    let state = args.common.begin()?;
    let is_json = match args.format.as_str() {
        "table" => false,
        "json" => true,
        other => bail!("--format {other:?}: there are table and json"),
    };
    let most = if args.latest { Some(1) } else { args.last };
    let by_status = args.filter.iter().any(|(field, _)| *field == Field::Status);
    let even_ended = args.all || most.is_some() || by_status;
    let (mut found, mut status) = (Vec::new(), 0);
    orphans::sweep(&state)?; // what was to be removed at its end, and whose keeper was killed
    for record in record::all(&state)? {
        if found.len() == most.unwrap_or(usize::MAX) {
            break;
        }
        match Listed::look(record, even_ended) {
            Ok(Some(listed)) if is_wanted(&listed, &args.filter) => found.push(listed),
            Ok(_) => {}
            Err(error) => {
                messages::fail(&error); // it hides no other
                status = 1;
            }
        }
    }
    let text: String = match (args.quiet, is_json) {
        (true, _) => found.iter().map(|listed| format!("{}\n", listed.id)).collect(),
        (false, true) => found.iter().map(|listed| in_json(listed, args.no_trunc, ports)).collect(),
        (false, false) => in_columns(&found, args.no_trunc, ports),
    };
    output::print(text.as_bytes())?;
    Ok(status)
}

fn filter(text: &str) -> Result<(Field, String)> {
    let (field, value) = text.split_once('=').context("a filter is name=…, id=… or status=…")?;
    let field = match field {
        "name" => Field::Name,
        "id" => Field::Id,
        "status" => Field::Status,
        other => bail!("there is no filter {other:?}: there are name, id and status"),
    };
    Ok((field, value.to_string()))
}

/// Whether one filter of each kind that was given is true of it.
fn is_wanted(listed: &Listed, filters: &[(Field, String)]) -> bool {
    [Field::Name, Field::Id, Field::Status].into_iter().all(|kind| {
        let mut of_kind = filters.iter().filter(|(field, _)| *field == kind).peekable();
        of_kind.peek().is_none()
            || of_kind.any(|(_, value)| match kind {
                Field::Name => listed.name.contains(value.as_str()),
                Field::Id => listed.id.starts_with(value.as_str()),
                Field::Status => listing::word(listed.state) == value,
            })
    })
}

fn in_columns(found: &[Listed], whole: bool, ports: Option<Ports>) -> String {
    let rows = found.iter().map(|listed| {
        let (image, command) = image_and_command(listed, whole);
        [listed.id.clone(), image, command, ago(listed.created), listed.status(), listed.name.clone()]
    });
    let Some(ports) = ports else {
        let head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"];
        return table::text(head, &rows.collect::<Vec<_>>());
    };
    let rows = rows.zip(found).map(|([id, image, command, created, status, name], listed)| {
        [id, image, command, created, status, ports(listed), name]
    });
    let head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    table::text(head, &rows.collect::<Vec<_>>())
}

/// A line of JSON, with Docker's keys.
fn in_json(listed: &Listed, whole: bool, ports: Option<Ports>) -> String {
    let (image, command) = image_and_command(listed, whole);
    let mut line = json!({
        "ID": listed.id,
        "Image": image,
        "Command": command,
        "CreatedAt": time::rfc3339(listed.created),
        "RunningFor": ago(listed.created),
        "State": listing::word(listed.state),
        "Status": listed.status(),
        "Names": listed.name,
    });
    if let Some(ports) = ports {
        line["Ports"] = json!(ports(listed));
    }
    format!("{line}\n")
}

fn image_and_command(listed: &Listed, whole: bool) -> (String, String) {
    let unknown = || "?".to_string();
    let command = listed.asked().map_or_else(unknown, |asked| {
        let command = listing::command(&asked.command);
        format!("{:?}", if whole { command } else { listing::cut(&command, 20) })
    });
    (listed.image().unwrap_or_else(unknown), command)
}

fn ago(moment: Duration) -> String {
    format!("{} ago", time::in_words(time::age(moment)))
}
