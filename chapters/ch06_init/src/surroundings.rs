//! The options that this chapter adds to `run`, in Docker's words.

use anyhow::{Result, ensure};
use ch02_cgroups::limits::parse_size;

use crate::filesystems;
use crate::tmpfs::{self, Tmpfs};

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Surroundings {
    /// Run an init as process 1, which hands signals on and reaps processes
    #[arg(long)]
    pub init: bool,
    /// The size of /dev/shm
    #[arg(long, value_name = "SIZE", default_value = "64m", value_parser = parse_shm_size, allow_hyphen_values = true)]
    pub shm_size: u64,
    /// Mount a tmpfs on DST; may be given again
    #[arg(long, value_name = "DST[:OPTION,...]")]
    pub tmpfs: Vec<Tmpfs>,
}

impl Surroundings {
    /// Mounts what programs expect, inside the container's root.
    pub fn mount_all(&self) -> Result<()> {
        filesystems::mount_all(self.shm_size)?;
        tmpfs::mount_all(&self.tmpfs)
    }
}

fn parse_shm_size(text: &str) -> Result<u64> {
    let size = parse_size(text)?;
    ensure!(size > 0, "must be more than 0");
    Ok(size)
}
