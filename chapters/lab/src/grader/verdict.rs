//! What comes of a check.

use crate::checks::check::Check;
use crate::see::Failure;

/// A check and what came of it.
#[derive(Debug, Clone)]
pub struct Graded {
    /// The check.
    pub check: &'static Check,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub seconds: f64,
    /// What the runtime left behind and the lab took away.
    pub left: Vec<String>,
}

/// How a check ended.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The runtime behaves so.
    Pass,
    /// It does not.
    Fail(Failure),
    /// It could not be found out here, and why.
    Skip(String),
}

impl Graded {
    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.verdict {
            Verdict::Fail(failure) => Some(failure),
            Verdict::Pass | Verdict::Skip(_) => None,
        }
    }
}
