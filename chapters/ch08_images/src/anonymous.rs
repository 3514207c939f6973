//! Volumes that an image asks for: directories without a name, which begin with what the image has there. flock(2).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use ch01_run::id;
use ch02_cgroups::lock;
use ch03_pivot_root::{removal, state, whole};
use ch05_volumes::spec;
use ch06_init::tmpfs::Tmpfs;
use ch07_lifecycle::record;
use log::error;
use tar::Builder;

use crate::layer_unpack::unpack;
use crate::whiteout::{relative, seen, seen_at};

/// A volume for one container. As long as the file is open, nobody takes it for waste. Dropped before it is kept, it is
/// removed.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    target: PathBuf,
    _held: File,
    is_kept: bool,
}

impl Volume {
    /// Makes one for this path of the image, whose layers these are. Hold the store's lock.
    pub fn make(state_directory: &Path, target: &Path, lowers: &[PathBuf]) -> Result<Volume> {
        let volumes = volumes(state_directory);
        state::make_private(&volumes)?;
        let name: String = (0..6).map(|_| id::random()).collect::<Result<_>>()?;
        let path = volumes.join(&name[..64]);
        let places = seen_at(lowers, &relative(target)?)?;
        let places = if places.first().is_some_and(|first| first.is_dir()) { places } else { Vec::new() };
        let making = || format!("making the volume for {}", target.display());
        whole::make(&path, |directory| fill(&places, directory)).with_context(making)?;
        let held = lock::try_hold(&path)?.with_context(making)?;
        let volume = Volume { path, target: target.to_path_buf(), _held: held, is_kept: false };
        if let Some(top) = places.first() {
            let like = top.metadata().with_context(making)?;
            lchown(&volume.path, Some(like.uid()), Some(like.gid())).with_context(making)?;
            fs::set_permissions(&volume.path, Permissions::from_mode(like.mode() & 0o7777))
                .with_context(making)?;
        }
        Ok(volume)
    }

    /// As an option of `run`.
    pub fn option(&self) -> OsString {
        let mut option = OsString::from("--volume=");
        option.push(&self.path);
        option.push(":");
        option.push(&self.target);
        option
    }

    /// From now on it's a container's, and goes when nobody has that any more.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = removal::remove_tree(&self.path)
        {
            error!("{error:#}");
        }
    }
}

/// The paths of the image that are to be volumes, but for those where somebody wants another one, or a tmpfs.
pub fn targets<'a>(
    wanted: impl Iterator<Item = &'a String>,
    typed: &[OsString],
    tmpfs: &[Tmpfs],
) -> Result<Vec<PathBuf>> {
    let typed = spec::parse_all(typed)?;
    // Each once: /data and /data/ are the same.
    let targets: BTreeSet<PathBuf> = wanted.map(|target| Path::new("/").join(target)).collect();
    let is_free = |target: &PathBuf| {
        typed.iter().all(|volume| volume.target != *target) && tmpfs.iter().all(|one| one.target != *target)
    };
    Ok(targets.into_iter().filter(is_free).collect())
}

/// Volumes that no container has. Nobody who makes one at this moment is overlooked: its lock is given up when a record has
/// it.
pub fn waste(state_directory: &Path) -> Result<Vec<PathBuf>> {
    let directory = volumes(state_directory);
    let listing = || format!("listing {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(listing)?,
    };
    let mut free = Vec::new();
    for entry in entries {
        let path = entry.with_context(listing)?.path();
        let name = path.file_stem().unwrap_or_default().as_encoded_bytes();
        if name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit) && lock::try_hold(&path)?.is_some() {
            free.push(path);
        }
    }
    let mut words = Vec::new();
    for record in record::unsorted(state_directory)? {
        words.extend(record.read_bytes("arguments")?.unwrap_or_default());
    }
    let is_named = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().as_encoded_bytes();
        words.windows(name.len()).any(|part| part == name)
    };
    free.retain(|path| !is_named(path));
    Ok(free)
}

fn volumes(state_directory: &Path) -> PathBuf {
    state_directory.join("volumes")
}

/// Copies what the layers have there, by a tar stream: with owners, modes and times. Two names of one file become two
/// files.
fn fill(places: &[PathBuf], directory: &Path) -> Result<()> {
    let (reader, writer) = io::pipe().context("making a pipe")?;
    thread::scope(|scope| {
        let work = move || {
            let mut tar = Builder::new(writer);
            tar.follow_symlinks(false);
            pack(places, Path::new(""), &mut tar)?;
            tar.into_inner().context("writing the end of the tar stream").map(drop)
        };
        let packing = thread::Builder::new().spawn_scoped(scope, work).context("starting a thread")?;
        let unpacked = unpack(reader, &[], directory);
        let packed = packing.join().map_err(|_| anyhow!("the thread panicked"))?;
        unpacked.and(packed)
    })
}

fn pack(places: &[PathBuf], name: &Path, tar: &mut Builder<impl Write>) -> Result<()> {
    let mut entries = BTreeSet::new();
    for place in places {
        for entry in fs::read_dir(place).with_context(|| format!("listing {}", place.display()))? {
            entries.insert(entry.with_context(|| format!("listing {}", place.display()))?.file_name());
        }
    }
    for entry in entries {
        let (found, name) = (seen(places, &entry)?, name.join(&entry));
        let Some(top) = found.first() else { continue };
        let data = top.symlink_metadata().with_context(|| format!("looking at {}", top.display()))?;
        if name.as_os_str().len() > 4096 {
            bail!("{} lies too deep", top.display());
        }
        tar.append_path_with_name(top, &name).with_context(|| format!("packing {}", top.display()))?;
        if data.is_dir() {
            pack(&found, &name, tar)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whiteout::make_whiteout;

    #[test]
    fn what_all_layers_have() {
        let top = tempfile::tempdir().unwrap();
        let [low, high, to] = ["low", "high", "to"].map(|name| top.path().join(name));
        for directory in [&low.join("d/sub"), &high.join("d"), &to] {
            fs::create_dir_all(directory).unwrap();
        }
        for (path, text) in [("d/a", "a"), ("d/b", "b"), ("d/sub/c", "c")] {
            fs::write(low.join(path), text).unwrap();
        }
        fs::write(high.join("d/b"), "B").unwrap();
        make_whiteout(&high.join("d/a")).unwrap();
        let places = seen_at(&[high, low], Path::new("d")).unwrap();
        fill(&places, &to).unwrap();
        assert!(!to.join("a").exists());
        assert_eq!(["b", "sub/c"].map(|path| fs::read_to_string(to.join(path)).unwrap()), ["B", "c"]);
    }

    #[test]
    fn whoever_wants_another_has_it() {
        let wanted = ["/data", "logs", "/logs/", "/tmpfs"].map(str::to_string);
        let targets = targets(wanted.iter(), &["/x:/data/".into()], &["/tmpfs/".parse().unwrap()]).unwrap();
        assert_eq!(targets, [PathBuf::from("/logs")]);
    }
}
