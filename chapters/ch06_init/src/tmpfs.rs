//! Directories that live in memory and end with the container: tmpfs(5), mount(2).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use ch01_run::mounts;
use ch02_cgroups::mountinfo;
use nix::mount::MsFlags;

/// The words that are flags of mount(2), and whether each sets or clears its flag.
const FLAGS: [(&str, MsFlags, bool); 8] = [
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
];

/// The options that go to the file system as they are.
const DATA: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];

/// One `--tmpfs DST[:OPTION,…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// In the container, absolute.
    pub target: PathBuf,
    flags: MsFlags,
    /// What the file system itself is told: `size=64m,mode=1777`.
    data: String,
}

impl FromStr for Tmpfs {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Tmpfs> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let target = Path::new(target);
        ensure!(target.is_absolute(), "DST must be an absolute path");
        ensure!(target.parent().is_some(), "DST is the container's root");
        ensure!(!target.components().any(|part| part == Component::ParentDir), "DST must not have .. in it");
        // As Docker's are, unless the options say otherwise.
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let mut data = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match FLAGS.iter().find(|(name, ..)| *name == option) {
                Some((_, flag, on)) => flags.set(*flag, *on),
                None if is_data(option) => data.push(option),
                None => bail!("{option:?} is no option of a tmpfs"),
            }
        }
        Ok(Tmpfs { target: target.components().collect(), flags, data: data.join(",") })
    }
}

fn is_data(option: &str) -> bool {
    option.split_once('=').is_some_and(|(name, value)| DATA.contains(&name) && !value.is_empty())
}

/// Mounts them, the least deep first, so that none hides another. Call it inside the container's root: links in the
/// image lead into the image there.
pub fn mount_all(all: &[Tmpfs]) -> Result<()> {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by_key(|tmpfs| tmpfs.target.components().count());
    for tmpfs in all {
        mount(tmpfs).with_context(|| format!("mounting a tmpfs on {}", tmpfs.target.display()))?;
    }
    Ok(())
}

fn mount(tmpfs: &Tmpfs) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(&tmpfs.target)?;
    let target = tmpfs.target.canonicalize()?;
    // A volume, /proc, /dev: whatever is mounted there or below would be out of sight.
    let hidden = mountinfo::read()?.into_iter().find(|mount| mount.target.starts_with(&target));
    if let Some(hidden) = hidden {
        bail!("it would cover what is mounted on {}", hidden.target.display());
    }
    Ok(mounts::mount("tmpfs", &target, "tmpfs", tmpfs.flags, &tmpfs.data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_tmpfs() {
        let plain: Tmpfs = "/run".parse().unwrap();
        assert!(plain.flags.contains(MsFlags::MS_NOEXEC) && plain.data.is_empty());
        let all: Tmpfs = "/a/b/:exec,size=1m,mode=700,ro".parse().unwrap();
        assert_eq!((all.target.to_str(), all.data.as_str()), (Some("/a/b"), "size=1m,mode=700"));
        assert!(all.flags.contains(MsFlags::MS_RDONLY) && !all.flags.contains(MsFlags::MS_NOEXEC));
        for bad in ["", "run", "/", "/a/../b", "/a:size", "/a:size=", "/a:lowerdir=/etc", "/a:x"] {
            assert!(bad.parse::<Tmpfs>().is_err(), "{bad:?}");
        }
    }
}
