//! Files of cgroups, which are the kernel's own: each write is a command. write(2).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use log::debug;

/// Writes one cgroup file in one write(2): each write is a command to the kernel.
pub fn write(path: &Path, value: &str) -> Result<()> {
    debug!("write({path:?}, {value:?})");
    // Not fs::write, which would make the file if there is none: where that works is no cgroup.
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {value:?} to {}", path.display()))
}

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

impl Setting {
    /// This value, to this file.
    pub fn new(controller: &'static str, file: &'static str, value: impl ToString) -> Setting {
        Setting { controller, file, value: value.to_string() }
    }
}

/// Whether it is there. An error is no answer: what cannot be seen may be there all the same.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("looking for {}", path.display()))
}
