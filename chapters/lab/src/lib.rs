//! Behaviour checks for a container runtime that is given as a program.
//!
//! A check knows nothing of how the runtime is written. It speaks the command line that all chapters
//! share, and then looks at what the kernel says: `/proc`, mount tables, cgroup files, exit statuses,
//! bytes on the host's disk. So it serves for our chapters and for anybody's own runtime.
//!
//! Each check runs on a host of its own (see `machine/host.rs`), where a broken runtime can do no harm to the real one,
//! and afterwards the lab looks for anything left behind. Temporary files go below `$TMPDIR` (default
//! `/tmp`), which must be on a file system that can execute programs and hold an overlay's upper layer.
//!
//! The modules below stand in the order to read them, and each uses only those above it.

mod chapter;
mod part;
mod see;
mod machine;
mod trial;
mod checks;
mod faults;
mod grader;
mod bench;
mod cli;

pub use chapter::Chapter;
pub use checks::check::Check;
pub use checks::{checks, exercise_checks};
pub use cli::command_line;
pub use faults::fault_checks;
pub use grader::book::{ADDRESS, Ids};
pub use grader::caller::{as_owner, cargo_as_owner};
pub use grader::grade::{Plan, Watcher, grade};
pub use grader::new::filled_in;
pub use grader::one::Limits;
pub use grader::suite::{as_root, faults, main};
pub use grader::verdict::{Graded, Verdict};
pub use part::part_of;
pub use see::{CannotRun, Failure};
