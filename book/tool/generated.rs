//! What in the book is made from other things: drawings, what changed between chapters, how long pages take.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use lab::Chapter;
use pikchr::{Pikchr, PikchrFlags};
use similar::TextDiff;

use crate::{learner, measure, recording, repo};

/// Colours that drawings may name. Pikchr only knows numbers, so each gets one and is put back afterwards.
const COLOURS: [(&str, u8, &str); 6] = [
    ("process", 1, "var(--drawing-process)"),
    ("namespace", 2, "var(--drawing-namespace)"),
    ("files", 3, "var(--drawing-files)"),
    ("own", 6, "var(--drawing-own)"),
    ("faint", 4, "var(--drawing-faint)"),
    ("danger", 5, "var(--drawing-danger)"),
];

/// No drawing is wider, in units of which a letter has about eight.
const WIDEST: isize = 640;

/// All generated files: path and text, or what is wrong with the source.
pub fn all() -> Result<BTreeMap<PathBuf, Result<String>>> {
    let mut files = BTreeMap::new();
    for name in drawings()? {
        let source = repo::read(&repo::root().join(format!("book/drawings/{name}.pikchr")))?;
        let svg = drawing(&source).with_context(|| format!("book/drawings/{name}.pikchr"));
        files.insert(repo::pages().join(format!("drawings/{name}.svg")), svg);
    }
    for chapter in Chapter::ALL {
        let Some(earlier) = chapter.builds_on() else { continue };
        let (earlier, chapter) = (earlier.package(), chapter.package());
        files.insert(repo::pages().join(format!("diffs/{chapter}.diff")), diff(earlier, chapter));
    }
    files.insert(repo::pages().join("recording.svg"), recording::svg());
    files.insert(repo::root().join("chapters/lab/stops.txt"), stops());
    let measures = measure::all()?;
    if !measures.broken.is_empty() {
        files.insert(repo::pages(), Err(anyhow!("measuring the pages: {}", measures.broken.join("\n"))));
    }
    match measure::timed(&measures) {
        Ok(pages) => files.extend(pages.into_iter().map(|page| (page.path.clone(), Ok(page.text())))),
        Err(error) => drop(files.insert(repo::pages(), Err(error))),
    }
    Ok(files)
}

/// The stops of all pages, for the lab.
fn stops() -> Result<String> {
    let mut text = "# Made by `cargo run -p book -- make` from the marks of the pages: chapter, stop, page, heading, checks.\n".to_string();
    for chapter in Chapter::typed() {
        text += &format!("\n# {}\n", chapter.title());
        for stop in learner::stops(chapter)? {
            let heading = stop.heading.text.replace('|', "/");
            let line = format!(
                "{} | {} | {} | {heading} | {}",
                chapter.name(),
                stop.number,
                stop.page,
                stop.ids.join(" ")
            );
            text += &format!("{}\n", line.trim_end());
        }
    }
    Ok(text)
}

/// Files where generated ones belong that nothing generates.
pub fn strays() -> Result<Vec<PathBuf>> {
    let all = all()?;
    let mut strays = Vec::new();
    for directory in ["drawings", "diffs"] {
        let entries = fs::read_dir(repo::pages().join(directory)).into_iter().flatten().flatten();
        strays.extend(entries.map(|entry| entry.path()).filter(|path| !all.contains_key(path)));
    }
    Ok(strays)
}

/// The names of the drawings.
pub fn drawings() -> Result<Vec<String>> {
    let files = repo::files()?.into_iter().filter_map(|file| file.to_str().map(String::from));
    let name = |file: String| Some(file.strip_prefix("book/drawings/")?.strip_suffix(".pikchr")?.to_string());
    Ok(files.filter_map(name).collect())
}

/// Turns Pikchr into SVG that takes its colours from the page around it.
pub fn drawing(source: &str) -> Result<String> {
    let name = title(source);
    let mut prelude = String::new();
    for (name, number, _) in COLOURS {
        prelude += &format!("${name} = 0x0000{number:02x}\n");
    }
    let mut flags = PikchrFlags::default();
    flags.generate_plain_errors();
    let picture = Pikchr::render(&(prelude + source), None, flags).map_err(|error| anyhow!("{error}"))?;
    let width = picture.width();
    ensure!(width <= WIDEST, "{width} units wide, and a phone shows no more than {WIDEST}");
    let mut svg =
        picture.rendered().replace("rgb(0,0,0)", "currentColor").replace(" style='font-size:initial;'", "");
    for (_, number, colour) in COLOURS {
        svg = svg.replace(&format!("rgb(0,0,{number})"), colour);
    }
    ensure!(
        !svg.contains("rgb("),
        "the colours are {}",
        COLOURS.map(|(name, ..)| format!("${name}")).join(" ")
    );
    // A letter is 16 units high. On a phone it may become 12, and not less: the rest of the drawing is scrolled to.
    let least = width * 3 / 4;
    let label = name.map_or(String::new(), |name| format!("aria-label=\"{}\" ", escaped(name)));
    let head = format!(
        "<svg class=\"drawing\" role=\"img\" {label}width=\"{width}\" style=\"min-width: {least}px\" "
    );
    svg = svg.replacen("<svg ", &head, 1);
    // An empty line would end the HTML in the Markdown around it.
    Ok(svg.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("{line}\n")).collect())
}

/// What a screen reader calls a drawing: its first line, `// title: …`.
pub fn title(source: &str) -> Option<&str> {
    source.lines().next()?.strip_prefix("// title:").map(str::trim).filter(|title| !title.is_empty())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn diff(earlier: &str, chapter: &str) -> Result<String> {
    let [one, other] = [earlier, chapter].map(|name| format!("chapters/{name}/src/main.rs"));
    let (old, new) = (repo::read(&repo::root().join(&one))?, repo::read(&repo::root().join(&other))?);
    Ok(TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).header(&one, &other).to_string())
}
