//! The book's table of what a container can and cannot reach, tried out row by row.

use std::process::Command;

use anyhow::{Context, Result};

use crate::chapter::Chapter::{Images, Init, Network};
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "walls-of-the-book",
        Init,
        "Every command in the book's table of walls prints what the table says.",
        walls,
    ),
    Check::new(
        "walls-around-images",
        Images,
        "Every command in the book's table of walls around images prints what the table says.",
        |lab| on_the_host(lab, "\n## The walls around an image\n", 8),
    ),
    Check::new(
        "walls-around-networks",
        Network,
        "Every command in the book's table of walls around a network prints what the table says.",
        |lab| on_the_host(lab, "\n## The walls around a network\n", 6),
    ),
];

/// The page of the book.
const PAGE: &str = include_str!("../../../../book/src/walls.md");

/// A wall, the command that shows it, and what that prints.
#[derive(Debug)]
struct Row {
    what: String,
    stands: String,
    command: String,
    printed: String,
}

/// The rows of the first table behind a heading.
fn rows(page: &str, heading: &str) -> Result<Vec<Row>> {
    let (_, page) = page.split_once(heading).with_context(|| format!("walls.md has no {heading}"))?;
    let is_row = |line: &&str| line.starts_with('|');
    let table = page.lines().skip_while(|line| !is_row(line)).take_while(is_row).skip(2);
    let rows: Vec<_> =
        table.map(|line| row(line).with_context(|| format!("in the line {line}"))).collect::<Result<_>>()?;
    let known = rows.iter().all(|row| row.stands == "yes" || row.stands == "not yet");
    see::same("the table in walls.md", "a wall stands, or not yet:", true, known)?;
    Ok(rows)
}

/// In a table's cell, `|` is written as `\|`.
fn row(line: &str) -> Result<Row> {
    const BAR: &str = "\u{0}";
    let line = line.replace("\\|", BAR);
    let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace(BAR, "|")).collect();
    let [what, stands, command, printed] = cells.try_into().ok().context("a row has four cells")?;
    let code = |cell: String| {
        let code = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
        code.map(str::to_string).context("the last two cells are code")
    };
    Ok(Row { what, stands, command: code(command)?, printed: code(printed)? })
}

impl Row {
    /// What is wrong with it, if it printed this. A cell is one line.
    fn untrue(&self, printed: &str, error: &str) -> Option<String> {
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        let told =
            || format!("{}: the table says {:?}, it printed {printed:?} {error:?}", self.what, self.printed);
        (printed != self.printed).then(told)
    }
}

fn walls(lab: &Lab) -> Result<()> {
    let rows = rows(PAGE, "# The walls of this container\n")?;
    see::same("the table in walls.md", "rows:", true, rows.len() >= 15)?;
    // From chapter 9 on there is a way to others, unless somebody says that there is to be none.
    let network = if lab.has(Network) { &["--network", "none"][..] } else { &[] };
    let mut wrong = Vec::new();
    for row in &rows {
        let outcome = lab.sh(&row.command).with(["--hostname", "inside"]).with(network).finish()?;
        wrong.extend(row.untrue(&outcome.output(), &outcome.error()));
        lab.host_unchanged(&outcome.line)?;
    }
    see::same("the commands in walls.md", "rows that are not true:", Vec::<String>::new(), wrong)
}

/// The table below a heading, of so many rows at least: each command in a directory of its own, on the host.
fn on_the_host(lab: &Lab, heading: &str, least: usize) -> Result<()> {
    let rows = rows(PAGE, heading)?;
    see::same("the table in walls.md", "to have enough rows:", true, rows.len() >= least)?;
    lab.run(["true"]).finish()?.succeeds()?;
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let mut shell = Command::new("sh");
        shell.args(["-c", &row.command]).current_dir(lab.folder(&format!("row-{number}"))?);
        let output = shell.env("RUN", lab.program()).env("BYHAND_ROOT", lab.state()).output()?;
        let [printed, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        wrong.extend(row.untrue(&printed, &error));
        lab.host_unchanged(&row.command)?;
    }
    see::same("the commands in walls.md", "rows that are not true:", Vec::<String>::new(), wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_table() {
        let row = row(r"| What | yes | `a \| b` | `c` |").unwrap();
        assert_eq!((row.command.as_str(), row.printed.as_str()), ("a | b", "c"));
    }
}
