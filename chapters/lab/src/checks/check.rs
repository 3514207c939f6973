//! What a check is, and how it is tried.

use std::path::Path;

use anyhow::Result;

use crate::chapter::Chapter;
use crate::machine::{aufs, network};
use crate::see::cannot_run;
use crate::trial::runtime::{Lab, Terms, with_lab};

/// One behaviour of a container runtime.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Short and stable: tests are filtered by it, learners talk about it.
    pub id: &'static str,
    /// The chapter that teaches the behaviour; those that build on it keep it.
    pub since: Chapter,
    /// The last chapter that has the behaviour, if a later one takes it away.
    pub until: Option<Chapter>,
    /// The behaviour in one sentence.
    pub says: &'static str,
    work: fn(&Lab) -> Result<()>,
    /// Whether a container starts in it, which ch04_aufs can do only on a kernel with aufs.
    container: bool,
    /// The exercise of the book that it belongs to: a runtime is only asked for it if someone says so.
    pub exercise: Option<&'static str>,
}

impl Check {
    pub(crate) const fn new(
        id: &'static str,
        since: Chapter,
        says: &'static str,
        work: fn(&Lab) -> Result<()>,
    ) -> Check {
        Check { id, since, until: None, says, work, container: true, exercise: None }
    }

    pub(crate) const fn until(mut self, last: Chapter) -> Check {
        self.until = Some(last);
        self
    }

    pub(crate) const fn without_container(mut self) -> Check {
        self.container = false;
        self
    }

    pub(crate) const fn exercise(mut self, name: &'static str) -> Check {
        self.exercise = Some(name);
        self
    }

    /// Whether a runtime that has come as far as `chapter` must behave so.
    pub fn applies_to(&self, chapter: Chapter) -> bool {
        let goes_on = |last| chapter == last || !chapter.includes(last);
        chapter.includes(self.since) && self.until.is_none_or(goes_on)
    }

    /// Tries it on the program at `runtime`. The error says what was done, expected, and seen; it is a
    /// [`CannotRun`](crate::CannotRun) if this host lacks something that the check needs.
    pub fn carry_out(&self, chapter: Chapter, runtime: &Path) -> Result<()> {
        self.with_leftovers(chapter, runtime, Terms { longest: 60, told: |_| () }).0
    }

    /// The same, along with what was left behind and has been cleaned up.
    pub(crate) fn with_leftovers(
        &self,
        chapter: Chapter,
        runtime: &Path,
        terms: Terms,
    ) -> (Result<()>, Vec<String>) {
        if chapter == Chapter::Aufs && self.container && !aufs::on_this_kernel() {
            let no_aufs = cannot_run("this kernel has no aufs (the classroom VM in vagrant/ has)");
            return (Err(no_aufs), Vec::new());
        }
        let work = |lab: &Lab| {
            if chapter.includes(Chapter::Images) {
                network::alone()?; // whatever a runtime takes for the name of an image, nobody is asked for it
            }
            (self.work)(lab)
        };
        with_lab(chapter, runtime, terms, work)
    }
}
