//! A cgroup cannot be removed while a process is in it: rmdir(2), EBUSY.

use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

/// Whether there are still processes in it, or other cgroups.
pub fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::ResourceBusy)
}

/// Removes the cgroup of a container that has ended. A kernel may take a moment after wait(2) to see its last
/// process out (Linux 6.19 does), and says EBUSY until then: then `remove` tries again, for five seconds at most.
pub fn patiently(remove: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..500 {
        match remove() {
            Err(error) if is_busy(&error) => sleep(Duration::from_millis(10)),
            removed => return removed,
        }
    }
    remove()
}
