//! Whether this kernel has aufs, which the mainline kernel never had: filesystems(5), modprobe(8).

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

/// The type of what is mounted on a container's `mnt`. Without aufs that can only be what the tracer mounts in its place.
pub(crate) fn filesystem() -> &'static str {
    if on_this_kernel() { "aufs" } else { "overlay" }
}

/// Whether this kernel has aufs; its module is loaded if that is what it takes.
pub(crate) fn on_this_kernel() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let listed =
        || fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.lines().any(|l| l == "nodev\taufs"));
    *ANSWER.get_or_init(|| {
        // Without modprobe it is built in or not there.
        listed() || (Command::new("modprobe").arg("aufs").output().is_ok() && listed())
    })
}
