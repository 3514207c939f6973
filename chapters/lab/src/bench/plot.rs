//! Bars as SVG, in the colours of the page they stand on.

use std::fmt::Write;

/// One bar: its name, its parts one after another with the number of a colour, what is written at its end, and
/// from where to where a whisker is drawn.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) parts: Vec<(f64, usize)>,
    pub(crate) text: String,
    pub(crate) whisker: Option<(f64, f64)>,
}

/// The book's fills, and for a page without them, colours that can be seen on white and on black.
const FILLS: [(&str, &str); 9] = [
    ("process", "#6f9bd1"),
    ("own", "#a98bc9"),
    ("files", "#84b878"),
    ("namespace", "#d6b656"),
    ("danger", "#d98880"),
    ("faint", "#8a8f98"),
    ("a", "#5fb0b7"),
    ("b", "#c98bb0"),
    ("c", "#b0a070"),
];

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 30.0;
const LEFT: f64 = 235.0;
const RIGHT: f64 = 75.0;

/// A drawing of bars, one below the other; `legend` names the colours, if there is more than one.
pub(crate) fn bars(title: &str, legend: &[&str], bars: &[Bar]) -> String {
    let length = |bar: &Bar| bar.parts.iter().map(|(part, _)| part).sum::<f64>();
    let reach = |bar: &Bar| bar.whisker.map_or(0.0, |(_, to)| to).max(length(bar));
    let longest = bars.iter().map(reach).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + value / longest * (WIDTH - LEFT - RIGHT);
    let legend_rows = legend.len().div_ceil(4);
    let height = bars.len() as f64 * HEIGHT + legend_rows as f64 * 24.0 + 10.0;
    let mut svg = format!(
        "<svg class=\"drawing\" role=\"img\" aria-label=\"{}\" width=\"{WIDTH}\" style=\"min-width: 470px\" \
         xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-size=\"15\">\n",
        escape(title)
    );
    for (index, name) in legend.iter().enumerate() {
        let (left, top) = ((index % 4) as f64 * 155.0 + 4.0, (index / 4) as f64 * 24.0 + 6.0);
        rectangle(&mut svg, left, top, 14.0, 14.0, index);
        text(&mut svg, left + 20.0, top + 7.0, "start", name);
    }
    for (index, bar) in bars.iter().enumerate() {
        let top = index as f64 * HEIGHT + legend_rows as f64 * 24.0 + 8.0;
        let middle = top + 10.0;
        text(&mut svg, LEFT - 8.0, middle, "end", &bar.name);
        let mut so_far = 0.0;
        for (part, colour) in &bar.parts {
            rectangle(&mut svg, x(so_far), top, x(so_far + part) - x(so_far), 20.0, *colour);
            so_far += part;
        }
        if let Some((from, to)) = bar.whisker {
            let (from, to) = (x(from), x(to));
            let (above, below) = (middle - 4.0, middle + 4.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{from:.1},{above:.1}V{below:.1}M{from:.1},{middle:.1}H{to:.1}M{to:.1},{above:.1}V{below:.1}\" \
                 style=\"fill:none;stroke:currentColor;stroke-width:1.5\"/>"
            );
        }
        text(&mut svg, x(reach(bar)) + 6.0, middle, "start", &bar.text);
    }
    svg.push_str("</svg>\n");
    svg
}

fn rectangle(svg: &mut String, left: f64, top: f64, width: f64, height: f64, colour: usize) {
    let (name, otherwise) = FILLS[colour % FILLS.len()];
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         style=\"fill:var(--drawing-{name},{otherwise})\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"currentColor\" \
         dominant-baseline=\"central\">{}</text>",
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The same drawing as a file of its own, which follows the reader's light or dark scheme.
pub(crate) fn standalone(svg: &str) -> String {
    let style = "<style>svg { color: #1f2328; font-family: sans-serif } \
                 @media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }</style>\n";
    svg.replacen(">\n", &format!(">\n{style}"), 1)
}
