//! `--record FILE`: what a container's terminal shows, as an asciicast of version 2.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::chapter::Chapter::Init;
use crate::checks::check::Check;
use crate::see::{self, differs, quoted, shown};
use crate::trial::runtime::Lab;
use crate::trial::terminal::Terminal;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "record",
        Init,
        "--record FILE writes an asciicast: the terminal's size, then all that it shows, with the seconds. Nothing that is typed unseen.",
        record,
    )
    .exercise("record"),
    Check::new(
        "record-characters",
        Init,
        "Each line of a recording is JSON, and a character that came in two pieces is whole in it.",
        characters,
    )
    .exercise("record"),
    Check::new("record-sizes", Init, "Each new size is in the recording, in its place: COLUMNSxROWS.", sizes)
        .exercise("record"),
    Check::new(
        "record-bad",
        Init,
        "--record without -t, or of a FILE that cannot be made, is refused; one that cannot be written ends with 125.",
        bad,
    )
    .exercise("record"),
];

/// A recording, read back.
struct Cast {
    /// The command that made it.
    line: String,
    width: u64,
    height: u64,
    events: Vec<Event>,
}

/// What happened after so many seconds: `o` for output, `r` for a new size.
struct Event {
    seconds: f64,
    kind: String,
    text: String,
}

impl Cast {
    fn read(line: &str, path: &Path) -> Result<Cast> {
        let Ok(bytes) = fs::read(path) else {
            return Err(differs(line, format!("a recording in {}", path.display()), "no such file"));
        };
        let mut lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n');
        let parsed = |text: &[u8]| match serde_json::from_slice::<Value>(text) {
            Ok(value) => Ok((value, shown(text))),
            Err(error) => Err(differs(line, "JSON, in UTF-8", format!("the line {}: {error}", shown(text)))),
        };
        let (header, text) = parsed(lines.next().unwrap_or_default())?;
        let (Some(2), Some(width), Some(height)) =
            (header["version"].as_u64(), header["width"].as_u64(), header["height"].as_u64())
        else {
            return Err(differs(line, "a first line with version 2, width and height", text));
        };
        let mut cast = Cast { line: line.to_string(), width, height, events: Vec::new() };
        for other in lines {
            let (event, text) = parsed(other)?;
            let (Some(seconds), Some(kind), Some(data)) =
                (event[0].as_f64(), event[1].as_str(), event[2].as_str())
            else {
                return Err(differs(line, r#"a line [seconds, "o", "text"]"#, text));
            };
            if cast.events.last().is_some_and(|last| last.seconds > seconds) || seconds < 0.0 {
                return Err(differs(line, "seconds that never go back", text));
            }
            cast.events.push(Event { seconds, kind: kind.to_string(), text: data.to_string() });
        }
        Ok(cast)
    }

    /// All that was printed.
    fn output(&self) -> String {
        self.events.iter().filter(|event| event.kind == "o").map(|event| event.text.as_str()).collect()
    }

    /// When the last of `text` was there.
    fn when(&self, text: &str) -> Result<f64> {
        let mut screen = String::new();
        for event in self.events.iter().filter(|event| event.kind == "o") {
            screen += &event.text;
            if screen.contains(text) {
                return Ok(event.seconds);
            }
        }
        Err(differs(&self.line, format!("{text:?} in the recording"), shown(screen.as_bytes())))
    }
}

/// At a terminal of 71 columns and 31 rows.
fn at_terminal<'a>(lab: &'a Lab, file: &Path, command: &str) -> Result<Terminal<'a>> {
    let file = quoted(file);
    let script = format!(
        "stty rows 31 cols 71; \"$RUN\" run -ti --record {file} $IMAGE sh -c '{command}'; echo \"status $?\""
    );
    Terminal::with_shell(lab, &["-c", &script])
}

fn record(lab: &Lab) -> Result<()> {
    let file = lab.path("cast");
    let outcome = lab.run(["seq", "20000"]).with(["-t", "--record"]).with([&file]).finish()?;
    outcome.succeeds()?;
    let cast = Cast::read(&outcome.line, &file)?;
    see::same(&cast.line, "without a caller's terminal a size of", (80, 24), (cast.width, cast.height))?;
    if cast.output() != outcome.output() {
        return Err(differs(
            &cast.line,
            "in the recording all that went to stdout",
            shown(cast.output().as_bytes()),
        ));
    }

    // The same file once more: what was in it is gone.
    let command =
        "stty -echo; echo ready; read word; stty echo; echo first; sleep 1; echo \"[$word]\" | wc -c; exit 3";
    let mut terminal = at_terminal(lab, &file, command)?;
    terminal.shows("ready\r\n")?;
    terminal.types("sesame\n")?;
    terminal.shows("status 3")?;
    let cast = Cast::read(terminal.line(), &file)?;
    see::same(&cast.line, "width and height", (71, 31), (cast.width, cast.height))?;
    see::same(&cast.line, "recorded", "ready\r\nfirst\r\n9\r\n", &cast.output())?;
    if cast.events.iter().any(|event| event.text.contains("sesame")) {
        return Err(differs(&cast.line, "nothing of what was typed unseen", "sesame in the recording"));
    }
    let between = cast.when("\r\n9\r\n")? - cast.when("first\r\n")?;
    // A slow machine may take longer, but not as long as milliseconds would look.
    if !(0.5..100.0).contains(&between) {
        return Err(differs(&cast.line, "a second between first and 9", format!("{between}")));
    }
    Ok(())
}

fn characters(lab: &Lab) -> Result<()> {
    let file = lab.path("cast");
    let script = r#"printf 'a\342\202'; sleep 0.5; printf '\254z\303'; sleep 0.5; printf '\244 \033[1m"\\/\t\001 \377\376.'"#;
    let outcome = lab.sh(script).with(["-t", "--record"]).with([&file]).finish()?;
    outcome.succeeds()?;
    let cast = Cast::read(&outcome.line, &file)?;
    // How many U+FFFD stand for bytes that are no characters is a matter of taste.
    let mut text: Vec<_> = cast.output().chars().collect();
    text.dedup_by(|one, other| *one == '\u{fffd}' && one == other);
    let text = String::from_iter(text);
    see::same(&cast.line, "recorded", "a\u{20ac}z\u{e4} \u{1b}[1m\"\\/\t\u{1} \u{fffd}.", &text)
}

fn sizes(lab: &Lab) -> Result<()> {
    let file = lab.path("cast");
    let command =
        "n=0; trap \"stty size; n=\\$((n+1))\" WINCH; echo ready; while [ $n -lt 2 ]; do sleep 0.05; done";
    let mut terminal = at_terminal(lab, &file, command)?;
    terminal.shows("ready\r\n")?;
    terminal.resize(42, 101)?;
    terminal.shows("42 101\r\n")?;
    terminal.resize(12, 40)?;
    terminal.shows("12 40\r\n")?;
    terminal.shows("status 0")?;
    let cast = Cast::read(terminal.line(), &file)?;
    see::same(&cast.line, "the first line to tell the first size,", (71, 31), (cast.width, cast.height))?;
    let seen: String = cast
        .events
        .iter()
        .map(|event| match event.kind.as_str() {
            "o" => event.text.clone(),
            kind => format!("<{kind} {}>", event.text),
        })
        .collect();
    see::same(&cast.line, "in the recording", "ready\r\n<r 101x42>42 101\r\n<r 40x12>12 40\r\n", &seen)
}

fn bad(lab: &Lab) -> Result<()> {
    let good = lab.path("cast");
    let outcome = lab.run(["true"]).with(["-t", "--record"]).with([&good]).finish()?; // else everything would be refused
    outcome.succeeds()?;
    lab.sh("echo ran").with(["--record"]).with([&good]).finish()?.refuses(&[125])?;
    for path in [lab.path("no/such/directory"), lab.folder("directory")?] {
        let outcome = lab.sh("echo ran").with(["-t", "--record"]).with([&path]).finish()?;
        outcome.refuses(&[125])?.mentions(&path.display().to_string())?;
    }
    // A disk that is full.
    lab.sh("sleep 1; echo ran")
        .with(["-t", "--record", "/dev/full"])
        .finish()?
        .exits(125)?
        .mentions("/dev/full")?;
    Ok(())
}
