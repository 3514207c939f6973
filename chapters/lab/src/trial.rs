//! A runtime on trial: `runtime` starts it, `running` watches it, `outcome` is how it ended; `kept` is a container that stays;
//! `oci` makes images by hand, and `registry` serves them.

pub(crate) mod kept;
pub(crate) mod oci;
pub(crate) mod outcome;
pub(crate) mod registry;
pub(crate) mod running;
pub(crate) mod runtime;
pub(crate) mod strace;
pub(crate) mod terminal;
