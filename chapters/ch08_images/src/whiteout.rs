//! How a layer says that something of the layers below isn't there any more: image-spec's layer.md, and overlayfs.rst of
//! the kernel; mknod(2), setxattr(2).
//!
//! In a tar file, names say it. In a directory for overlayfs, a device and an attribute do.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// What the name in a tar file of something hidden begins with, in Docker's first file system and since.
pub const PREFIX: &str = ".wh.";
/// The name in a tar file which says that its directory shows nothing of the layers below.
pub const OPAQUE: &str = ".wh..wh..opq";
/// Where overlayfs keeps what it has to know of a file.
pub const OVERLAYS_OWN: &str = "trusted.overlay.";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

/// What a name in a tar file means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Itself.
    Plain,
    /// That what has this name in the layers below isn't there any more.
    Gone(OsString),
    /// That nothing of what the layers below have in the same directory is there any more.
    AllGone,
    /// Something that aufs noted for itself.
    Aufs,
}

/// What a name means, which is not a path.
pub fn meaning(name: &OsStr) -> Result<Meaning> {
    let Some(hidden) = name.as_bytes().strip_prefix(PREFIX.as_bytes()) else { return Ok(Meaning::Plain) };
    ensure!(!matches!(hidden, b"" | b"." | b".."), "a whiteout of no file");
    Ok(match hidden {
        _ if name == OPAQUE => Meaning::AllGone,
        _ if hidden.starts_with(PREFIX.as_bytes()) => Meaning::Aufs,
        _ => Meaning::Gone(OsStr::from_bytes(hidden).to_os_string()),
    })
}

/// Whether overlayfs takes this for something hidden: a character device of the number 0/0, which no driver has.
pub fn is_whiteout(data: &Metadata) -> bool {
    data.file_type().is_char_device() && data.rdev() == makedev(0, 0)
}

/// Hides what has this name in the layers below.
pub fn make_whiteout(path: &Path) -> Result<()> {
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).context("making a character device 0/0")
}

/// Whether overlayfs shows nothing in this directory of the layers below.
pub fn is_opaque(directory: &Path) -> Result<bool> {
    let value = xattr::get(directory, OPAQUE_ATTRIBUTE);
    Ok(value.with_context(|| format!("reading {OPAQUE_ATTRIBUTE}"))?.is_some_and(|value| value == b"y"))
}

/// Hides all that the layers below have in this directory.
pub fn make_opaque(directory: &Path) -> Result<()> {
    xattr::set(directory, OPAQUE_ATTRIBUTE, b"y").with_context(|| format!("setting {OPAQUE_ATTRIBUTE}"))
}

/// What overlayfs makes of the name `name` in the directories `places`, the topmost first: nothing, or one file, or
/// directories whose contents are seen as one, the topmost first.
pub fn seen(places: &[PathBuf], name: &OsStr) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for place in places {
        let path = place.join(name);
        let data = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            data => data.with_context(|| format!("looking at {}", path.display()))?,
        };
        if is_whiteout(&data) || !(data.is_dir() || found.is_empty()) {
            break;
        }
        let is_last = !data.is_dir() || is_opaque(&path)?;
        found.push(path);
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// The same for a path. It is relative, and of names only.
pub fn seen_at(layers: &[PathBuf], path: &Path) -> Result<Vec<PathBuf>> {
    let mut places = layers.to_vec();
    for (depth, name) in path.iter().enumerate() {
        // What is in a file is nothing, and no link is followed. But a layer's own path may be one.
        places.retain(|place| depth == 0 || place.symlink_metadata().is_ok_and(|data| data.is_dir()));
        places = seen(&places, name)?;
    }
    Ok(places)
}

/// A name in a tar file as a path of names only. What leads up from there is an error.
pub fn relative(name: &Path) -> Result<PathBuf> {
    use std::path::Component::{CurDir, Normal, ParentDir, Prefix, RootDir};
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Normal(part) => path.push(part),
            CurDir | RootDir => {}
            ParentDir | Prefix(_) => bail!("{name:?} leads out of the layer"),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_mean_what_the_specification_says() {
        let meaning = |name: &str| meaning(OsStr::new(name));
        assert_eq!(meaning("wh.a").unwrap(), Meaning::Plain);
        assert_eq!(meaning("a.wh.").unwrap(), Meaning::Plain);
        assert_eq!(meaning(".wh.a").unwrap(), Meaning::Gone("a".into()));
        assert_eq!(meaning(".wh..a").unwrap(), Meaning::Gone(".a".into()));
        assert_eq!(meaning(".wh..wh..opq").unwrap(), Meaning::AllGone);
        assert_eq!(meaning(".wh..wh.plnk").unwrap(), Meaning::Aufs);
        for bad in [".wh.", ".wh..", ".wh..."] {
            assert!(meaning(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_path_leads_up() {
        assert_eq!(relative(Path::new("/a/./b//c/")).unwrap(), Path::new("a/b/c"));
        assert_eq!(relative(Path::new("./")).unwrap(), Path::new(""));
        for bad in ["..", "a/..", "a/../b", "/../a"] {
            assert!(relative(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn layers_are_seen_as_overlayfs_shows_them() {
        let top = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| top.path().join(name));
        for layer in [&a, &b, &c] {
            fs::create_dir_all(layer.join("merged/deep")).unwrap();
        }
        fs::write(c.join("file"), "").unwrap();
        fs::write(c.join("merged/hidden"), "").unwrap();
        make_whiteout(&b.join("merged/hidden")).unwrap();
        make_opaque(&b.join("merged/deep")).unwrap();
        fs::write(b.join("turned"), "").unwrap();
        fs::create_dir(c.join("turned")).unwrap();
        symlink("merged", c.join("link")).unwrap();
        let layers = [a.clone(), b.clone(), c.clone()];
        let seen = |path: &str| seen_at(&layers, Path::new(path)).unwrap();
        assert_eq!(seen(""), layers);
        assert_eq!(seen("file"), [c.join("file")]);
        assert_eq!(seen("file/in"), [] as [&Path; 0]);
        assert_eq!(seen("link"), [c.join("link")]);
        assert_eq!(seen("link/hidden"), [] as [&Path; 0]);
        assert_eq!(seen("none"), [] as [&Path; 0]);
        assert_eq!(seen("merged"), layers.clone().map(|layer| layer.join("merged")));
        assert_eq!(seen("merged/hidden"), [] as [&Path; 0]);
        assert_eq!(seen("merged/deep"), [a.join("merged/deep"), b.join("merged/deep")]);
        assert_eq!(seen("turned"), [b.join("turned")]);
    }
}
