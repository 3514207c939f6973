//! Rows of text in columns, as Docker sets them: three spaces between, and no column narrower than ten.

/// The text of a table, each line with its end. What a terminal would take for a command is shown as `\u{1b}`: paths and
/// arguments are other people's words.
pub fn text<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_string);
    let rows: Vec<_> =
        [&head].into_iter().chain(rows).map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(10);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row[..N - 1].iter().zip(widths) {
            text += &format!("{cell:width$}");
        }
        text += &format!("{}\n", row[N - 1]);
    }
    text
}

fn printable(cell: &str) -> String {
    cell.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// A size as Docker writes it, with four digits at most: `1.957MiB`.
pub fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit < 5 {
        number /= 1024.0;
        unit += 1;
    }
    let places = if number < 10.0 {
        3
    } else if number < 100.0 {
        2
    } else if number < 1000.0 {
        1
    } else {
        0
    };
    let digits = format!("{number:.places$}");
    let digits = if places > 0 { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{}", ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_dockers() {
        let rows =
            [["0123456789ab".to_string(), "sh".to_string()], ["x".to_string(), "\x1b[31m".to_string()]];
        let lines = "CONTAINER ID   NAMES\n0123456789ab   sh\nx              \\u{1b}[31m\n";
        assert_eq!(text(["CONTAINER ID", "NAMES"], &rows), lines);
        assert_eq!(text(["IMAGE", "COMMAND"], &[]), "IMAGE     COMMAND\n");
    }

    #[test]
    fn sizes_are_dockers() {
        for (bytes, words) in [
            (0, "0B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (2_052_096, "1.957MiB"),
            (104_857_600, "100MiB"),
            (8_200_000_000, "7.637GiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
