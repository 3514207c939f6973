//! Files and directories of cgroups, which are the kernel's own: each write is a command. mkdir(2), write(2), rmdir(2), unlinkat(2).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use log::debug;
use nix::dir::{Dir, Type};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// One file to write in a cgroup, for one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller that the file belongs to.
    pub controller: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// What to write there.
    pub value: String,
}

/// Whether it is there. An error is no answer: what cannot be seen may be there all the same.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("looking for {}", path.display()))
}

/// Makes a cgroup, in a directory for all of ours which is made too: the kernel puts their files in at once.
pub(crate) fn make_group(path: &Path) -> Result<()> {
    let context = || format!("making the cgroup {}", path.display());
    let ours = path.parent().with_context(context)?;
    for _ in 0..100 {
        debug!("mkdir({ours:?})");
        match fs::create_dir(ours) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(context);
            }
            _ => {}
        }
        debug!("mkdir({path:?})");
        match fs::create_dir(path) {
            // Another run, the last one so far, has just taken the directory for all away.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => return made.with_context(context),
        }
    }
    bail!("making the cgroup {}: {} is gone each time", path.display(), ours.display())
}

/// Writes one cgroup file in one write(2): each write is a command to the kernel.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    debug!("write({path:?}, {value:?})");
    // Not fs::write, which would make the file if there is none: where that works is no cgroup.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// Removes a cgroup and those that the container made in it; no error if there is none.
pub(crate) fn remove_group(path: &Path) -> Result<()> {
    debug!("rmdir({path:?})");
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Read-only is said before anyone looks whether it is there; and nothing of ours can be.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        // There are others in it, which can be removed, or processes.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => remove_with_others(path),
        removed => removed.with_context(|| format!("removing the cgroup {}", path.display())),
    }
}

fn remove_with_others(path: &Path) -> Result<()> {
    let context = || format!("removing the cgroup {}", path.display());
    let group = open_directory(AT_FDCWD, path).with_context(context)?;
    // The files are the kernel's, and a directory goes with all of them.
    remove_below(group, |_| Ok(())).with_context(context)?;
    debug!("rmdir({path:?})");
    fs::remove_dir(path).with_context(context)
}

/// Whether there are still processes in it.
pub(crate) fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::ResourceBusy)
}

/// Opens a directory, and no other one that a link leads to.
pub fn open_directory(at: impl AsFd, path: impl AsRef<Path>) -> io::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(Dir::openat(at, path.as_ref(), flags, Mode::empty())?)
}

/// Removes all directories below an open one, the innermost first. `clear` is called for each, the open one too, before
/// we look for directories in it: it sees to what else is in there.
///
/// One directory is open at a time, and what is removed is named relative to it. So it does not matter how deep they
/// are, how long their names, and how few files we may have open.
pub fn remove_below(top: Dir, mut clear: impl FnMut(&mut Dir) -> Result<()>) -> Result<()> {
    let mut here = top;
    let mut way = Vec::new();
    clear(&mut here)?;
    loop {
        if let Some(name) = directory_in(&mut here)? {
            let below = open_directory(&here, &name).with_context(|| format!("opening {name:?}"))?;
            way.push((identity(&here)?, name));
            here = below;
            clear(&mut here)?;
        } else {
            let Some((above, name)) = way.pop() else { return Ok(()) };
            here = open_directory(&here, "..").context("opening the directory above")?;
            // Whoever moves directories about meanwhile must not lead us to others.
            ensure!(identity(&here)? == above, "{name:?} was moved away while we were in it");
            debug!("unlinkat({name:?}, AT_REMOVEDIR)");
            let removed = unlinkat(&here, &*name, UnlinkatFlags::RemoveDir).map_err(io::Error::from);
            removed.with_context(|| format!("removing {name:?}"))?;
        }
    }
}

/// The name of a directory in this one, if there is any.
fn directory_in(here: &mut Dir) -> Result<Option<PathBuf>> {
    for entry in here.iter() {
        let entry = entry.context("listing a directory")?;
        let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        if entry.file_type() == Some(Type::Directory) && name != "." && name != ".." {
            return Ok(Some(name.to_path_buf()));
        }
    }
    Ok(None)
}

fn identity(directory: &Dir) -> Result<(u64, u64)> {
    let data = fstat(directory).context("looking at a directory")?;
    Ok((data.st_dev, data.st_ino))
}
