//! What `pull` and `push` tell while it takes its time: Docker's words, and a bar for each layer on the way.

use std::io::{Write, stderr};

use anyhow::Result;
use ch07_lifecycle::output;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::digest::Digest;

/// Where Docker's words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// To stdout: they are what was asked for.
    Stdout,
    /// To stderr: stdout is a container's.
    Stderr,
    /// Nowhere.
    Nowhere,
}

/// Tells.
pub struct Progress {
    words: Words,
    /// Where stderr is a terminal that can move its cursor.
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Nothing is told yet.
    pub fn new(words: Words) -> Progress {
        let bars = MultiProgress::new();
        let wanted = words != Words::Nowhere && !bars.is_hidden();
        Progress { words, bars: wanted.then_some(bars) }
    }

    /// Tells a line.
    pub fn say(&self, line: &str) -> Result<()> {
        match self.words {
            Words::Stdout => output::print_line(line),
            Words::Stderr => {
                self.note(line);
                Ok(())
            }
            Words::Nowhere => Ok(()),
        }
    }

    /// A layer is on its way, of so many bytes.
    pub fn layer(&self, digest: &Digest, size: u64) -> Layer<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{prefix}: [{bar:30}] {bytes}/{total_bytes} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bars.add(ProgressBar::new(size).with_style(style).with_prefix(digest.short()))
        });
        Layer { progress: self, name: digest.short(), bar }
    }

    /// A line on stderr, above the bars.
    fn note(&self, line: &str) {
        let write = || drop(writeln!(stderr(), "{line}")); // as with the log, nobody has to read it
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// A layer on its way.
pub struct Layer<'a> {
    progress: &'a Progress,
    name: String,
    bar: Option<ProgressBar>,
}

impl Layer<'_> {
    /// So many bytes are there.
    pub fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// How it goes, beside the bar, or as a line where there is none.
    pub fn note(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(words.to_string()),
            None => self.end(words),
        }
    }

    /// How it went.
    pub fn end(&self, words: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.progress.words != Words::Nowhere {
            self.progress.note(&format!("{}: {words}", self.name));
        }
    }
}

impl Drop for Layer<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
