//! Where things are.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_default()
}

/// The book's text.
pub fn pages() -> PathBuf {
    root().join("book/src")
}

/// A file's text, with its path in the error.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a file if that changes it. In the repository it is its owner's, whoever runs this; elsewhere that of the
/// directory's owner.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let owners = if path.starts_with(root()) { root() } else { path.to_path_buf() };
    lab::as_owner(&owners, || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    })
}

/// All files of the repository, tracked or new, that git does not ignore: paths below [`root`].
pub fn files() -> Result<Vec<PathBuf>> {
    // Tests run as root, often in a user's clone, where git wants to be told that this is meant.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("starting git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut files: Vec<_> = names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect();
    files.retain(|file| root().join(file).is_file()); // a deleted one is still tracked
    files.sort();
    files.dedup();
    Ok(files)
}

/// Who owns the repository.
pub fn owner() -> Result<u32> {
    Ok(fs::metadata(root()).context("looking at the repository")?.uid())
}

/// Copies a directory with all that is in it, as old as it is and whose it is. It appears when it's whole.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let half = to.with_extension("half");
    if half.exists() {
        fs::remove_dir_all(&half).with_context(|| format!("removing {}", half.display()))?;
    }
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto"]).arg(from).arg(&half);
    let output = copy.output().context("starting cp")?;
    ensure!(output.status.success(), "copying: {}", String::from_utf8_lossy(&output.stderr).trim());
    fs::rename(&half, to).with_context(|| format!("renaming {}", half.display()))
}

/// Gives another checkout's `target` those crates of others that cargo has built for this one: they're the same in both.
/// Nothing happens if it has some.
pub fn seed(target: &Path) -> Result<()> {
    let own = std::env::current_exe().context("looking for this program")?;
    let (to, from) = (target.join("debug"), own.ancestors().nth(2).context("no directory")?.to_path_buf());
    if to.exists() || !from.join(".fingerprint").exists() {
        return Ok(());
    }
    let ours = ["ch0", "lab-", "book-", "items-"];
    let names = |directory: &str| -> Result<Vec<String>> {
        let entries = fs::read_dir(from.join(directory)).with_context(|| format!("listing {directory}"))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| !ours.iter().any(|ours| name.starts_with(ours))).collect())
    };
    // A crate's files have the same number in their names as what cargo notes about it.
    let built = names(".fingerprint")?;
    let numbers: BTreeSet<_> = built.iter().filter_map(|name| name.rsplit('-').next()).collect();
    let is_theirs = |name: &String| {
        let number = name.split('.').next().unwrap_or_default().rsplit('-').next();
        number.is_some_and(|number| numbers.contains(number))
    };
    let half = target.join("half");
    for directory in [".fingerprint", "build", "deps"] {
        let found: Vec<_> = names(directory)?.into_iter().filter(is_theirs).collect();
        let paths = found.iter().map(|name| from.join(directory).join(name));
        fs::create_dir_all(half.join(directory)).with_context(|| format!("making {}", half.display()))?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--reflink=auto"]).args(paths).arg(half.join(directory));
        let output = copy.output().context("starting cp")?;
        ensure!(output.status.success(), "copying: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::rename(&half, &to).with_context(|| format!("renaming {}", half.display()))
}

/// Makes a directory and all in it somebody's.
pub fn give(path: &Path, owner: u32) -> Result<()> {
    lchown(path, Some(owner), Some(owner)).with_context(|| format!("giving away {}", path.display()))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    Ok(())
}
