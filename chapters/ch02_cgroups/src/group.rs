//! One directory in one hierarchy, for one container: mkdir(2), a few writes, rmdir(2).

use std::fs;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use log::{debug, error};

use crate::busy;
use crate::files::write;
use crate::hierarchy::Hierarchy;
use crate::limits::Limits;
use crate::rmdir::remove_group;

/// A container's cgroup in one hierarchy: `byhand/<id>`.
#[derive(Debug)]
pub struct Group {
    /// The tree that it is in.
    pub hierarchy: Hierarchy,
    /// Where it is.
    pub directory: PathBuf,
}

impl Group {
    /// The place for it. Nothing is made yet.
    pub fn new(hierarchy: Hierarchy, id: &str) -> Group {
        let directory = hierarchy.ours().join(id);
        Group { hierarchy, directory }
    }

    /// Makes the directory, which only root may open, in one for all of ours, which is made too: the kernel puts their
    /// files in at once.
    pub fn make(&self) -> io::Result<()> {
        let (ours, path) = (self.hierarchy.ours(), &self.directory);
        loop {
            debug!("mkdir({ours:?})");
            match fs::create_dir(&ours) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            debug!("mkdir({path:?}, 0700)");
            match fs::DirBuilder::new().mode(0o700).create(path) {
                // Another run, the last one so far, has just taken the directory for all away.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                made => return made,
            }
        }
    }

    /// Writes those of the limits that this hierarchy's controllers are for.
    pub fn set(&self, limits: &Limits) -> Result<()> {
        let Hierarchy { root, version, controllers } = &self.hierarchy;
        version.prepare(root, &self.directory, controllers)?;
        let mut settings = version.settings(limits, &self.directory)?;
        settings.retain(|setting| controllers.contains(&setting.controller));
        for setting in settings {
            write(&self.directory.join(setting.file), &setting.value)?;
        }
        Ok(())
    }

    /// Puts the calling process in.
    pub fn join(&self) -> Result<()> {
        // 0 is whoever writes it.
        write(&self.directory.join(self.hierarchy.version.join_file()), "0")
    }

    /// How many of its processes the kernel killed because the memory limit was reached.
    pub fn oom_kills(&self) -> Result<u64> {
        let file = self.directory.join(self.hierarchy.version.oom_file());
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap_or("0").parse().with_context(|| format!("parsing {}", file.display()))
    }

    /// Removes it, and tells what Drop cannot: why that failed.
    pub fn remove(self) -> Result<()> {
        ManuallyDrop::new(self).take_away() // Drop does not try again
    }

    fn take_away(&self) -> Result<()> {
        busy::patiently(|| remove_group(&self.directory))?;
        // The directory of all our containers goes with the last of them.
        let ours = self.hierarchy.ours();
        debug!("rmdir({ours:?})");
        match fs::remove_dir(&ours) {
            Err(error) if may_stay(error.kind()) => Ok(()),
            removed => removed.with_context(|| format!("removing {}", ours.display())),
        }
    }
}

/// Whether the directory of all our containers is right to stay, because others are in it; or it was never made.
fn may_stay(why: ErrorKind) -> bool {
    use ErrorKind::{DirectoryNotEmpty, NotFound, ReadOnlyFilesystem, ResourceBusy};
    matches!(why, DirectoryNotEmpty | ResourceBusy | NotFound | ReadOnlyFilesystem)
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            error!("{error:#}");
        }
    }
}
