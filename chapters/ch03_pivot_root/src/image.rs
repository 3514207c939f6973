//! The image: a directory that will be a container's root. symlink(2), rename(2), flock(2), busybox(1).

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use ch02_cgroups::files::exists;
use ch02_cgroups::lock;
use log::{debug, error};

use crate::{removal, state, tarball};

/// What a file system hierarchy has, besides the directories that programs are in; all of mode 755.
const DIRECTORIES: [&str; 8] = ["bin", "dev", "etc", "home", "proc", "sys", "usr", "var"];

/// Names under which distributions install busybox. A static one comes first: it needs no libraries.
const BUSYBOX_NAMES: [&str; 3] = ["busybox.static", "busybox-static", "busybox"];

/// Checks the directory that the user wants as a root, and returns its absolute path without links.
pub fn checked(directory: &Path) -> Result<PathBuf> {
    let context = || format!("using {directory:?} as the root");
    let mut entries = fs::read_dir(directory).with_context(context)?;
    // We would have to begin it with mount points, and then find no command there.
    ensure!(entries.next().is_some(), "the root {directory:?} is an empty directory");
    directory.canonicalize().with_context(context)
}

/// The busybox image below the state directory, made first if it is not there: from
/// `images/busybox.tar`, or else from the host's own busybox. Returns its path.
///
/// It comes into being whole, by rename(2), however many runs want it at once, or fail, or are killed.
pub fn busybox(state_directory: &Path) -> Result<PathBuf> {
    let images = state_directory.join("images");
    let image = images.join("busybox");
    if exists(&image)? {
        return Ok(image);
    }
    let tar = images.join("busybox.tar");
    // Looked for before anything is made, so that a host without one is left as it was.
    let source = if exists(&tar)? { tar } else { find_busybox()? };
    state::make_directories(&images)?;
    let _lock = lock::wait_for(&images)?;
    if exists(&image)? {
        return Ok(image); // made by another run while we waited for the lock
    }
    let unfinished = images.join("busybox.unfinished");
    removal::remove_tree(&unfinished)?; // from a run that was killed: nobody else can hold the lock that we hold
    let unfinished = Unfinished(unfinished);
    state::make_directories(&unfinished.0)?;
    if source.extension() == Some(OsStr::new("tar")) {
        tarball::unpack(&source, &unfinished.0)?;
    } else {
        from_host(&source, &unfinished.0)?;
    }
    checked(&unfinished.0)?; // an empty image would stay for ever, and have no command
    debug!("rename({:?}, {image:?})", unfinished.0);
    fs::rename(&unfinished.0, &image).with_context(|| format!("renaming {:?} to {image:?}", unfinished.0))?;
    Ok(image)
}

/// An image being made. Dropped before it was renamed, it is removed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = removal::remove_tree(&self.0) {
            error!("{error:#}");
        }
    }
}

/// The host's busybox, in PATH or where distributions have it.
fn find_busybox() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = env::split_paths(&path)
        .chain(["/bin", "/sbin", "/usr/bin", "/usr/sbin"].map(PathBuf::from))
        .collect();
    let candidates = BUSYBOX_NAMES.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    for candidate in candidates {
        let is_program = |data: fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
        if fs::metadata(&candidate).is_ok_and(is_program) {
            return Ok(candidate);
        }
    }
    bail!(
        "no busybox on this host to make an image of: install the package busybox-static \
         (apt-get install busybox-static)"
    )
}

/// Makes an image in the directory `root` of the host's busybox: one program that is all commands.
fn from_host(busybox: &Path, root: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        state::make_directories(&root.join(directory))?;
    }
    // Everyone may write to /tmp, and only root may look into its home.
    for (directory, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        state::make_directories(&root.join(directory))?;
        fs::set_permissions(root.join(directory), Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of {directory}"))?;
    }
    write_file(&root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    write_file(&root.join("etc/group"), "root:x:0:\n")?;
    write_file(&root.join("etc/hosts"), "127.0.0.1\tlocalhost\n")?;
    copy_program(busybox, &root.join("bin/busybox"))?;
    for library in libraries(busybox)? {
        copy_program(&library, &root.join(library.strip_prefix("/")?))?;
    }
    let mut list = Command::new(busybox);
    let (status, applets) = output(list.arg("--list-full")).with_context(|| format!("running {list:?}"))?;
    ensure!(status.success(), "{list:?} failed: {status}");
    for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
        let link = root.join(applet.trim_start_matches('/'));
        state::make_directories(link.parent().context("an applet's path has a directory")?)?;
        symlink("/bin/busybox", &link).with_context(|| format!("linking {link:?} to /bin/busybox"))?;
    }
    Ok(())
}

/// The libraries that a program is loaded with, none if it is static. ldd(1) knows; each line has the
/// path of one after `=>`, or at its start for the loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = match output(Command::new("ldd").arg(program).env("LC_ALL", "C")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()), // then all is static
        ldd => ldd.context("running ldd")?.1,
    };
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Runs a program and returns how it ended, and what it printed. Not `Command::output`: that panics if it cannot
/// read, and then nothing is undone.
fn output(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut text = String::new();
    // The pipe is closed again after this, so that a program that we cannot read from ends too.
    let read = child.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text));
    let status = child.wait()?;
    read.map(|_| (status, text))
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    state::make_directories(to.parent().context("a program's path has a directory")?)?;
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o755)))
        .with_context(|| format!("copying {from:?} to {to:?}"))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {path:?}"))
}
