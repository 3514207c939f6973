//! The book's table of what a container can and cannot reach, tried out row by row.

use anyhow::{Context, Result};

use crate::chapter::Chapter::Init;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[Check::new(
    "walls-of-the-book",
    Init,
    "Every command in the book's table of walls prints what the table says.",
    walls,
)];

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

fn rows(page: &str) -> Result<Vec<Row>> {
    let table = page.lines().filter(|line| line.starts_with('|')).skip(2);
    table.map(|line| row(line).with_context(|| format!("in the line {line}"))).collect()
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

fn walls(lab: &Lab) -> Result<()> {
    let rows = rows(PAGE)?;
    let known = rows.iter().all(|row| row.stands == "yes" || row.stands == "not yet");
    see::same("the table in walls.md", "a wall stands, or not yet:", true, known)?;
    see::same("the table in walls.md", "rows:", true, rows.len() >= 15)?;
    let mut wrong = Vec::new();
    for row in &rows {
        let outcome = lab.sh(&row.command).with(["--hostname", "inside"]).finish()?;
        // A cell is one line.
        let printed = outcome.output().split_whitespace().collect::<Vec<_>>().join(" ");
        if printed != row.printed {
            let error = outcome.error();
            wrong.push(format!(
                "{}: the table says {:?}, it printed {printed:?} {error:?}",
                row.what, row.printed
            ));
        }
        lab.host_unchanged(&outcome.line)?;
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
