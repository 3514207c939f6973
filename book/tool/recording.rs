//! A recording for the README: one of the book's transcripts, typed again line by line in an SVG that moves.
//!
//! The block says `console,recording`. So what the recording shows is what the tests have seen.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use items::console::{continuation, prompt_of};

use crate::page::Page;

/// Sizes, in units: a letter's width, a line's height, room at the sides, the title bar.
const LETTER: usize = 9;
const LINE: usize = 22;
const SIDE: usize = 18;
const BAR: usize = 34;
/// Times, in milliseconds: a letter, before a line of output, after a command, and at the end.
const TYPING: usize = 45;
const OUTPUT: usize = 90;
const PAUSE: usize = 700;
const END: usize = 6000;

/// The recording of the block that is meant for it.
pub fn svg() -> Result<String> {
    let mut found = Vec::new();
    for page in Page::all()? {
        let blocks = page.blocks().into_iter().filter(|block| block.is("recording"));
        found.extend(blocks.map(|block| page.lines[block.start..block.end].to_vec()));
    }
    ensure!(found.len() < 2, "{} blocks are `recording`, and there is one README", found.len());
    draw(found.first().context("no block says ```console,recording")?)
}

/// Draws lines of a console block. Whatever does not animate it shows all of it at once.
fn draw(lines: &[String]) -> Result<String> {
    let mut text = String::new();
    let mut covers = String::new();
    let mut events = Vec::new(); // when each line begins and ends to appear, and its letters
    let (mut now, mut typing) = (PAUSE, false);
    for (index, line) in lines.iter().enumerate() {
        let y = BAR + LINE * (index + 1);
        let (prompt, typed) = match (prompt_of(line), continuation(line)) {
            (Some((prompt, typed)), _) => (prompt, Some(typed)),
            (None, Some(more)) if typing => ("> ", Some(more)),
            _ => ("", None),
        };
        let (shown, class) = typed.map_or((line.as_str(), "output"), |typed| (typed, "typed"));
        let x = SIDE + LETTER * prompt.chars().count();
        for (x, class, shown) in [(SIDE, "prompt", prompt), (x, class, shown)] {
            let letters = shown.trim_end().chars().count();
            if letters > 0 {
                let width = letters * LETTER;
                let shown = escaped(shown.trim_end());
                writeln!(
                    text,
                    "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" textLength=\"{width}\">{shown}</text>"
                )?;
            }
        }
        let letters = shown.chars().count();
        let wait = if typed.is_some() { PAUSE } else { OUTPUT };
        now += if typing && typed.is_some() && prompt == "> " { 0 } else { wait };
        let end = now + if typed.is_some() { letters * TYPING } else { 0 };
        events.push((now, end, letters));
        // The line's prompt comes with its first letter.
        writeln!(
            covers,
            "<rect class=\"l{index}\" y=\"{}\" x=\"{x}\" width=\"100%\" height=\"{LINE}\"/>",
            y - 16
        )?;
        if !prompt.is_empty() {
            writeln!(
                covers,
                "<rect class=\"p{index}\" y=\"{}\" x=\"0\" width=\"{x}\" height=\"{LINE}\"/>",
                y - 16
            )?;
        }
        (now, typing) = (end, typed.is_some());
    }
    let total = now + END;
    let share = |time: usize| format!("{}.{:02}%", time * 100 / total, time * 10_000 / total % 100);
    let next = |time: usize| share(time + total.div_ceil(10_000));
    let mut style = String::new();
    for (index, (start, end, letters)) in events.into_iter().enumerate() {
        let (from, to, gone) = (share(start), share(end), next(end));
        let way = letters * LETTER;
        if end > start {
            writeln!(
                style,
                "@keyframes l{index} {{ 0% {{ opacity: 1 }} {from} {{ opacity: 1; transform: none; \
                 animation-timing-function: steps({letters}) }} {to} {{ opacity: 1; transform: translateX({way}px) }} \
                 {gone}, 100% {{ opacity: 0; transform: translateX({way}px) }} }}"
            )?;
        }
        let shown = if end > start { "p" } else { "l" };
        writeln!(
            style,
            "@keyframes {shown}{index} {{ 0%, {from} {{ opacity: 1 }} {}, 100% {{ opacity: 0 }} }}",
            next(start)
        )?;
        writeln!(
            style,
            ".covers .l{index} {{ animation-name: l{index} }} .covers .p{index} {{ animation-name: p{index} }}"
        )?;
    }
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) * LETTER + 2 * SIDE;
    let height = BAR + LINE * lines.len() + SIDE;
    let said = lines.iter().find_map(|line| prompt_of(line)).map_or("", |(_, typed)| typed);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" \
         aria-label=\"A terminal: {}\">\n<style>\n\
         text {{ font: 15px 'Source Code Pro', Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre }}\n\
         .prompt {{ fill: #f39d87 }} .typed {{ fill: #fff; font-weight: 600 }} .output {{ fill: #b3b9c4 }}\n\
         .covers {{ fill: #242830; opacity: 0 }}\n\
         @media (prefers-reduced-motion: no-preference) {{\n.covers {{ opacity: 1 }}\n\
         .covers rect {{ opacity: 0; animation: {}ms linear infinite }}\n{style}}}\n</style>\n\
         <clipPath id=\"screen\"><rect width=\"{width}\" height=\"{height}\" rx=\"8\"/></clipPath>\n\
         <g clip-path=\"url(#screen)\">\n<rect width=\"100%\" height=\"100%\" fill=\"#242830\"/>\n\
         {text}<g class=\"covers\">\n{covers}</g>\n<rect width=\"100%\" height=\"26\" fill=\"#323845\"/>\n\
         <g fill=\"#8a91a0\"><circle cx=\"16\" cy=\"13\" r=\"4\"/><circle cx=\"30\" cy=\"13\" r=\"4\"/>\
         <circle cx=\"44\" cy=\"13\" r=\"4\"/></g>\n</g>\n</svg>\n",
        escaped(said).replace('"', "&quot;"),
        total
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_lines_appear_letter_by_letter() {
        let lines = ["$ echo \\", "> <a>", "<a>"].map(String::from);
        let svg = draw(&lines).unwrap();
        assert!(
            svg.contains("<text class=\"typed\" x=\"36\" y=\"78\" textLength=\"27\">&lt;a&gt;</text>"),
            "{svg}"
        );
        assert!(svg.contains("<text class=\"output\" x=\"18\" y=\"100\" textLength=\"27\">"), "{svg}");
        assert!(svg.contains("steps(3)") && !svg.contains("@keyframes p2"), "{svg}");
    }
}
