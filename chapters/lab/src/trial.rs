//! A runtime on trial: `runtime` starts it, `running` watches it, `outcome` is how it ended.

pub(crate) mod outcome;
pub(crate) mod running;
pub(crate) mod runtime;
pub(crate) mod strace;
pub(crate) mod terminal;
