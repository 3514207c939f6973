//! All processes of a cgroup stopped at once, or killed: `freezer.state`, `cgroup.freeze`, `cgroup.kill`. cgroups(7).
//!
//! Not SIGSTOP: a process sees that its child was stopped, and can send SIGCONT. What is frozen notices nothing.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ch02_cgroups::files::{exists, write};
use ch02_cgroups::version::Version;
use log::debug;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Freezes all that is in a cgroup, and waits until it is. If the kernel does not manage that within two seconds, as with a
/// process that waits for a broken disk, all go on, and that is an error.
pub fn freeze(group: &Path, version: Version) -> Result<()> {
    for _ in 0..200 {
        // Each time: a process that version 1 met in the middle of a fork may be left out the first time.
        ask(group, version, true)?;
        if is_done(group, version)? {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    thaw(group, version)?;
    bail!("freezing {}: a process does not come to rest", group.display())
}

/// Lets them go on. No error if the cgroup is gone: so are they.
pub fn thaw(group: &Path, version: Version) -> Result<()> {
    match ask(group, version, false) {
        Err(error) if is_gone(&error) || !exists(group)? => {
            debug!("{error:#}");
            Ok(())
        }
        asked => asked,
    }
}

/// Whether a cgroup is gone, or about to be: the kernel takes its files away first, and its directory last.
pub fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(says_gone)
}

fn says_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32)
}

/// Whether they are frozen, or about to be.
pub fn is_frozen(group: &Path, version: Version) -> Result<bool> {
    let (file, thawed) = match version {
        Version::V1 => ("freezer.state", "THAWED"),
        Version::V2 => ("cgroup.freeze", "0"),
    };
    // A cgroup that is gone has ended with its container.
    Ok(read(&group.join(file))?.is_some_and(|text| text.trim() != thawed))
}

/// Kills all that is in a cgroup, also what is frozen.
pub fn kill_all(group: &Path, version: Version) -> Result<()> {
    let at_once = group.join("cgroup.kill"); // version 2, since Linux 5.14
    if exists(&at_once)? {
        return write(&at_once, "1");
    }
    // One by one. Frozen, none of them can make another meanwhile, or end and leave its number to a stranger.
    freeze(group, version)?;
    let killed = processes(group)?.into_iter().try_for_each(|pid| {
        debug!("kill({pid}, SIGKILL)");
        match kill(pid, Signal::SIGKILL) {
            Err(Errno::ESRCH) => Ok(()),
            sent => sent.with_context(|| format!("killing process {pid}")),
        }
    });
    thaw(group, version)?; // in version 1 they die only when they go on
    killed
}

/// The processes of a cgroup and of those that the container has made in it, by their numbers on the host.
pub fn processes(group: &Path) -> Result<Vec<Pid>> {
    let number = |line: &str| line.parse().ok().map(Pid::from_raw);
    Ok(lines(group, "cgroup.procs")?.iter().filter_map(|line| number(line)).collect())
}

/// Whether there are any. Version 2 tells it of all below, too, however long their paths are.
pub fn is_populated(group: &Path, version: Version) -> Result<bool> {
    let (file, populated) = match version {
        Version::V1 => return Ok(!processes(group)?.is_empty()),
        Version::V2 => ("cgroup.events", "populated 1"),
    };
    has_line(&group.join(file), populated)
}

/// How many threads they have: each counts against `--pids-limit`.
pub fn count_threads(group: &Path, version: Version) -> Result<usize> {
    let file = match version {
        Version::V1 => "tasks",
        Version::V2 => "cgroup.threads",
    };
    Ok(lines(group, file)?.len())
}

/// The lines of this file in a cgroup and in all below it.
fn lines(group: &Path, file: &str) -> Result<Vec<String>> {
    let (mut found, mut waiting) = (Vec::new(), vec![group.to_path_buf()]);
    while let Some(directory) = waiting.pop() {
        let text = read(&directory.join(file))?.unwrap_or_default();
        found.extend(text.lines().map(str::to_string));
        waiting.extend(directories(&directory)?);
    }
    Ok(found)
}

fn directories(group: &Path) -> Result<Vec<PathBuf>> {
    let listing = || format!("listing {}", group.display());
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(listing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(listing)?;
        if entry.file_type().with_context(listing)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn ask(group: &Path, version: Version, freeze: bool) -> Result<()> {
    match (version, freeze) {
        (Version::V1, true) => write(&group.join("freezer.state"), "FROZEN"),
        (Version::V1, false) => write(&group.join("freezer.state"), "THAWED"),
        (Version::V2, true) => write(&group.join("cgroup.freeze"), "1"),
        (Version::V2, false) => write(&group.join("cgroup.freeze"), "0"),
    }
}

/// Whether all have come to rest.
fn is_done(group: &Path, version: Version) -> Result<bool> {
    let (file, done) = match version {
        Version::V1 => ("freezer.state", "FROZEN"),
        Version::V2 => ("cgroup.events", "frozen 1"),
    };
    has_line(&group.join(file), done)
}

fn has_line(file: &Path, line: &str) -> Result<bool> {
    Ok(read(file)?.is_some_and(|text| text.lines().any(|one| one == line)))
}

/// A file of a cgroup. `None` if the cgroup is gone: reading then says ENODEV.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if says_gone(&error) => Ok(None),
        text => text.map(Some).with_context(|| format!("reading {}", path.display())),
    }
}
