//! The places where a learner can run what is typed by then: numbered through the pages of a chapter.

use std::collections::BTreeMap;

/// How many stops each chapter has had so far.
#[derive(Debug, Default)]
pub struct Stops(BTreeMap<String, usize>);

/// `4` of the page `ch04-overlay-more`, as `cargo lab check` calls the chapter; `4-aufs` has no stops.
fn chapter(page: &str) -> &str {
    let digits = page.strip_prefix("ch").unwrap_or(page).split('-').next().unwrap_or_default();
    digits.trim_start_matches('0')
}

/// The number of a chapter's first stop. Chapter 1 begins with a program on one page, which is not yet the chapter's own.
pub fn first(chapter: &str) -> usize {
    usize::from(chapter != "1")
}

impl Stops {
    /// The next one, as a band across the page.
    pub fn next(&mut self, page: &str, ids: &str) -> String {
        let chapter = chapter(page).to_string();
        let number = self.0.entry(chapter.clone()).or_insert_with(|| first(&chapter));
        let band = band(&chapter, *number, ids);
        *number += 1;
        band
    }
}

fn band(chapter: &str, number: usize, ids: &str) -> String {
    let check = format!("cargo lab check {chapter} --stop {number} --runtime ~/byhand");
    let checkpoint = format!("cargo lab checkpoint {chapter} --stop {number} ~/byhand-{chapter}-{number}");
    let count = ids.split_whitespace().count();
    let graded = match count {
        0 => String::new(),
        1 => format!("<p>A check turns green: <code>{check}</code></p>\n"),
        _ => format!("<p>{count} checks turn green: <code>{check}</code></p>\n"),
    };
    format!(
        "<div class=\"stop\" id=\"stop-{chapter}-{number}\">\n\
         <p>Stop {number}</p>\n\
         <p>Your crate runs. Try it: <code>cargo run -- run sh</code></p>\n\
         {graded}\
         <p><small>Stuck? <code>{checkpoint}</code> writes the crate as it is here.</small></p>\n\
         </div>"
    )
}
