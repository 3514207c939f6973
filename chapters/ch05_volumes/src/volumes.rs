//! Directories and files of the host, inside the container: bind mounts. mount(2), chroot(2), path_resolution(7).

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ch01_run::mounts;
use ch02_cgroups::mountinfo;
use log::debug;
use nix::errno::Errno;
use nix::libc::O_PATH;
use nix::mount::MsFlags;
use nix::unistd::{chroot, fchdir};

/// What the container mounts itself, after the volumes, and would hide them with.
const COVERED: [&str; 2] = ["/proc", "/dev"];

/// That a mount follows no links: a flag of Linux 5.10 and newer, which the crate nix has no name for.
const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(nix::libc::MS_NOSYMFOLLOW);

/// One `-v SRC:DST[:ro|rw]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// On the host, absolute. A directory or a file; made as a directory if it is not there.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// Parses every `-v`, and refuses two on one target. The order is that of their mounts: `/data` before
/// `/data/sub`, which it would hide.
pub fn parse_all(texts: &[OsString]) -> Result<Vec<Volume>> {
    let mut volumes: Vec<Volume> = Vec::new();
    for text in texts {
        let volume = parse(text).with_context(|| format!("volume {text:?}"))?;
        // Paths are compared by their parts: /data, /data/ and //data/. are one.
        let taken = volumes.iter().any(|other| other.target == volume.target);
        ensure!(!taken, "volume {text:?}: another one is on {:?} already", volume.target);
        volumes.push(volume);
    }
    volumes.sort_by_key(|volume| volume.target.components().count());
    Ok(volumes)
}

fn parse(text: &OsStr) -> Result<Volume> {
    let parts: Vec<_> = text.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes).collect();
    let (source, target, mode) = match parts[..] {
        [source, target] => (source, target, OsStr::new("rw")),
        [source, target, mode] => (source, target, mode),
        _ => bail!("write it as SRC:DST, SRC:DST:ro or SRC:DST:rw"),
    };
    ensure!(!source.is_empty(), "SRC is empty");
    // Shells put the home directory in its place only where it is not in quotes, and begins a word.
    ensure!(!source.as_bytes().starts_with(b"~"), "the shell has left ~ as it is: write $HOME, or ./~");
    let target = Path::new(target);
    ensure!(target.is_absolute(), "DST must be an absolute path");
    ensure!(target.parent().is_some(), "DST is the container's root; the option --rootfs sets that");
    ensure!(!target.components().any(|part| part == Component::ParentDir), "DST must not have .. in it");
    let read_only = match mode.as_bytes() {
        b"ro" => true,
        b"rw" => false,
        _ => bail!("{mode:?} is neither ro nor rw"),
    };
    Ok(Volume { source: std::path::absolute(source)?, target: target.to_path_buf(), read_only })
}

/// Mounts the volumes below the directory `root`, which is to be the container's root. Call it in the
/// container's mount namespace, after the root is mounted there and before the pivot: only then are both in
/// sight, the host's files and the container's. What `root` lacks is made, and so is a missing source.
pub fn mount_all(volumes: &[Volume], root: &Path) -> Result<()> {
    if volumes.is_empty() {
        return Ok(());
    }
    // Without links, as the kernel will tell the paths below it.
    let root = root.canonicalize().with_context(|| format!("looking for {}", root.display()))?;
    let covered = covered(&root)?;
    // All are looked at before anything is made, so that a bad one leaves nothing behind.
    for volume in volumes {
        ensure_no_dead_link(&volume.source)?;
        find_target(&root, volume, &covered).with_context(|| describe(volume))?;
    }
    let mut taken = Vec::new();
    for volume in volumes {
        taken.push(mount(&root, volume, &covered, &taken).with_context(|| describe(volume))?);
    }
    // A volume may have brought what a link at /proc or /dev leads to, which led nowhere before.
    let covered = self::covered(&root)?;
    for (volume, path) in volumes.iter().zip(&taken) {
        ensure_visible(path.strip_prefix(&root)?, &covered).with_context(|| describe(volume))?;
    }
    Ok(())
}

/// Where the container's own mounts will be: links in the image may lead them elsewhere than to `/proc` and `/dev`.
fn covered(root: &Path) -> Result<Vec<PathBuf>> {
    let opened = within(root, || COVERED.map(|path| open(Path::new(path))))?;
    let place = |(path, opened): (&str, io::Result<File>)| match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(PathBuf::from(path.trim_start_matches('/'))),
        opened => inside(root, &opened.with_context(|| format!("looking for {path} in the image"))?),
    };
    COVERED.into_iter().zip(opened).map(place).collect()
}

fn ensure_no_dead_link(source: &Path) -> Result<()> {
    let dead = source.is_symlink() && !source.exists();
    ensure!(!dead, "volume {}: it is a link that leads nowhere", source.display());
    Ok(())
}

fn describe(volume: &Volume) -> String {
    format!("mounting volume {} on {}", volume.source.display(), volume.target.display())
}

/// Returns the path that the volume is mounted on, for the next ones to keep away from.
fn mount(root: &Path, volume: &Volume, covered: &[PathBuf], taken: &[PathBuf]) -> Result<PathBuf> {
    let target = match find_target(root, volume, covered)? {
        Some(target) => target,
        None => make_target(root, volume)?,
    };
    let path = path_below(root, &target, covered)?;
    debug!("open({path:?}, O_PATH) = {}", target.as_raw_fd());
    // What came along with another volume from the host may be covered, but no volume by the next one.
    let hides = taken.iter().any(|other| other.starts_with(&path));
    ensure!(!hides, "links in the image lead to where it would hide another volume");
    if !volume.source.exists() {
        debug!("mkdir({:?}, 0755)", volume.source);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&volume.source);
        made.with_context(|| format!("making {}", volume.source.display()))?;
    }
    // This link takes the kernel to the very file that was found, whatever its name leads to by now.
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    // MS_REC: with what is mounted below it on the host; else those places would show as empty.
    mounts::mount(&volume.source, target, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
    if volume.read_only {
        make_read_only(&path)?;
    }
    Ok(path)
}

/// Opens the target if it is there. Not by joining two paths: a link to `/etc` in the image would lead to the
/// host's.
fn find_target(root: &Path, volume: &Volume, covered: &[PathBuf]) -> Result<Option<File>> {
    let (target, missing) = within(root, || open_nearest(&volume.target))??;
    if missing.components().next().is_some() {
        // It will be made below the nearest directory that there is.
        ensure_visible(&inside(root, &target)?.join(missing), covered)?;
        return Ok(None);
    }
    let path = path_below(root, &target, covered)?;
    // A bind mount covers a directory with a directory, and a file with a file.
    match (is_directory(&volume.source), path.is_dir()) {
        (true, false) => bail!("SRC is a directory, and what is at DST is not"),
        (false, true) => bail!("SRC is a file, and what is at DST is a directory"),
        _ => Ok(Some(target)),
    }
}

/// Does `work` where `/` is `root`, so that the kernel follows links as it will for the container: `/` in a link
/// is `root`, and so is `..` from there.
///
/// chroot(2) is no wall, as we show by coming back: who has a directory open outside can go there. That it
/// changes what paths mean is all that is asked of it here.
fn within<T>(root: &Path, work: impl FnOnce() -> T) -> Result<T> {
    let host = File::open("/").context("opening the host's root")?;
    debug!("chroot({root:?})");
    chroot(root).with_context(|| format!("changing the root to {}", root.display()))?;
    let done = work();
    debug!("fchdir({}), chroot(\".\")", host.as_raw_fd());
    fchdir(&host).and_then(|()| chroot(".")).context("changing the root back to the host's")?;
    Ok(done)
}

/// Opens a path as a place only, whatever is there: O_PATH.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(O_PATH).open(path)
}

/// Opens a path, or if it is not there, the nearest one above it that is. The second is what is missing.
fn open_nearest(path: &Path) -> io::Result<(File, PathBuf)> {
    match (open(path), path.parent(), path.file_name()) {
        (Err(error), Some(above), Some(name)) if error.kind() == ErrorKind::NotFound => {
            let (nearest, missing) = open_nearest(above)?;
            Ok((nearest, missing.join(name)))
        }
        (opened, ..) => Ok((opened?, PathBuf::new())),
    }
}

/// Whether the source is a directory, or will be one: what is missing is made as a directory.
fn is_directory(source: &Path) -> bool {
    source.is_dir() || !source.exists()
}

/// Makes a target of the kind that the source is.
fn make_target(root: &Path, volume: &Volume) -> Result<File> {
    let directory = is_directory(&volume.source);
    let directories = if directory { &volume.target } else { volume.target.parent().context("DST is /")? };
    let make = || {
        DirBuilder::new().recursive(true).mode(0o755).create(directories)?;
        if !directory {
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&volume.target)?;
        }
        open(&volume.target)
    };
    Ok(within(root, make)??)
}

/// The path of an open target, without links, where it is one that a volume can be mounted on.
fn path_below(root: &Path, target: &File, covered: &[PathBuf]) -> Result<PathBuf> {
    let path = path_of(target)?;
    let inside = inside(root, target)?;
    ensure!(inside.components().next().is_some(), "links in the image lead to the container's root");
    ensure_visible(&inside, covered)?;
    Ok(path)
}

fn path_of(open: &File) -> Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).context("reading the target's path")
}

/// The path of an open file relative to the root.
fn inside(root: &Path, target: &File) -> Result<PathBuf> {
    Ok(path_of(target)?.strip_prefix(root).context("the target left the root")?.to_path_buf())
}

/// Fails for what the container's own mounts would cover, and for what they would lie in.
fn ensure_visible(inside: &Path, covered: &[PathBuf]) -> Result<()> {
    match covered.iter().find(|own| inside.starts_with(own) || own.starts_with(inside)) {
        Some(own) => bail!("the container's own mount on /{} would cover it", own.display()),
        None => Ok(()),
    }
}

/// Makes what is mounted at `path` read-only, and every mount below it: the flag is one mount's, not the
/// tree's. The kernel ignores MS_RDONLY in the bind mount itself, and so it takes this second step.
///
/// Root in the container can undo it by a remount of its own: until it gives up CAP_SYS_ADMIN, read-only is a
/// guard against accidents.
fn make_read_only(path: &Path) -> Result<()> {
    for mount in mountinfo::read()?.iter().filter(|mount| mount.target.starts_with(path)) {
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        // A remount sets these flags anew. One that the host had on must not be lost on the way. The kernel's list tells
        // them; statvfs(3) would ask the file system, and one on a network may never answer.
        for (name, flag) in [
            ("nosuid", MsFlags::MS_NOSUID),
            ("nodev", MsFlags::MS_NODEV),
            ("noexec", MsFlags::MS_NOEXEC),
            ("nosymfollow", MS_NOSYMFOLLOW),
        ] {
            flags.set(flag, mount.options.split(',').any(|option| option == name));
        }
        match mounts::mount("", &mount.target, "", flags, "") {
            // Another mount covers it, here as on the host, and no path leads there; or only to a directory of the mount
            // that covers it, which happens to have the same name.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL) if mount.target != path => {}
            made => made.with_context(|| format!("making {} read-only", mount.target.display()))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Vec<Volume>> {
        parse_all(&texts.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_forms_of_a_volume() {
        let volumes = parsed(&["/a:/x/y", "/b:/z:ro", "c:/w:rw"]).unwrap();
        let read_only: Vec<_> = volumes.iter().map(|volume| volume.read_only).collect();
        assert_eq!(read_only, [true, false, false], "the least deep come first");
        assert!(volumes[1].source.is_absolute());
        for bad in ["", "a", "a:b", "a:/b:rx", ":/b", "/a:", "a:/", "a:/b/../c", "a:/b:ro:rw", "a:/b:"] {
            assert!(parsed(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_on_one_target() {
        assert!(parsed(&["/a:/x", "/b:/x/"]).is_err());
        assert!(parsed(&["/a:/x", "/b:/x/y"]).is_ok());
    }
}
