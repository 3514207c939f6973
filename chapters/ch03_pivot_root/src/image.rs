//! The image: a directory that will be a container's root. symlink(2), rename(2), flock(2), busybox(1).

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::mem::forget;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ch02_cgroups::files::exists;
use ch02_cgroups::lock;
use log::{debug, error};
use nix::unistd::{chdir, chroot};

use crate::{removal, state, tarball};

/// What a file system hierarchy has, besides the directories that programs are in; all of mode 755.
const DIRECTORIES: [&str; 8] = ["bin", "dev", "etc", "home", "proc", "sys", "usr", "var"];

/// How long to wait for another run that is making the image.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where distributions have programs.
const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

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
    state::make_private(&images)?;
    let unfinished = images.join("busybox.unfinished");
    // Closed to others while it is made, so that only root can have its lock. It keeps that when it is renamed.
    let _lock = lock::hold(&unfinished, PATIENCE, || DirBuilder::new().mode(0o700).create(&unfinished))?;
    let unfinished = Unfinished(unfinished);
    if exists(&image)? {
        return Ok(image); // made by another run while we waited for the lock
    }
    removal::empty(&unfinished.0)?; // a run that was killed has left it so
    if source.extension() == Some(OsStr::new("tar")) {
        tarball::unpack(&source, &unfinished.0)?;
    } else {
        from_host(&source, &unfinished.0)?;
    }
    checked(&unfinished.0)?; // an empty image would stay for ever, and have no command
    set_mode(&unfinished.0, 0o755)?;
    debug!("rename({:?}, {image:?})", unfinished.0);
    fs::rename(&unfinished.0, &image).with_context(|| format!("renaming {:?} to {image:?}", unfinished.0))?;
    forget(unfinished); // it is finished, and what has the name by now is another run's
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
    let directories: Vec<_> = env::split_paths(&path).chain(env::split_paths(PROGRAMS)).collect();
    let candidates = BUSYBOX_NAMES.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    for candidate in candidates {
        if is_program(&candidate) {
            return Ok(candidate);
        }
    }
    bail!(
        "no busybox on this host to make an image of: install the package busybox-static \
         (apt-get install busybox-static)"
    )
}

/// Whether this is a program, and no script that only leads to one.
fn is_program(path: &Path) -> bool {
    let executable = |data: fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
    let mut magic = [0; 4];
    fs::metadata(path).is_ok_and(executable)
        && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// Makes an image in the directory `root` of the host's busybox: one program that is all commands.
fn from_host(busybox: &Path, root: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        make_directories(&root.join(directory))?;
    }
    // Everyone may write to /tmp, and only root may look into its home.
    for (directory, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        make_directories(&root.join(directory))?;
        set_mode(&root.join(directory), mode)?;
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
    // linuxrc is for the first moments of a machine's start, and stands alone in the root.
    for applet in applets.lines().filter(|applet| !["bin/busybox", "linuxrc"].contains(applet)) {
        let link = root.join(applet.trim_start_matches('/'));
        make_directories(link.parent().context("an applet's path has a directory")?)?;
        symlink("/bin/busybox", &link).with_context(|| format!("linking {link:?} to /bin/busybox"))?;
    }
    tried(root)
}

/// Runs a command of a new image once, in a child that has it as its root: an image without a library that its program
/// needs would stay for ever, and run nothing.
fn tried(root: &Path) -> Result<()> {
    let mut command = Command::new("/bin/busybox");
    command.arg("true");
    let inside = root.to_path_buf();
    let enter = move || Ok(chroot(&inside).and_then(|()| chdir("/"))?);
    // SAFETY: between fork and exec this makes two system calls and takes no lock.
    unsafe { command.pre_exec(enter) };
    let (status, _) = output(&mut command).with_context(|| format!("trying busybox in {root:?}"))?;
    ensure!(status.success(), "busybox does not run in {root:?}: {status}");
    Ok(())
}

/// The libraries that a program is loaded with, none if it is static. ldd(1) knows; each line has the
/// path of one after `=>`, or at its start for the loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = match output(Command::new("ldd").arg(program)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()), // then all is static
        ldd => ldd.context("running ldd")?.1,
    };
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Runs a program and returns how it ended, and what it printed. Not `Command::output`: that panics if it cannot
/// read, and then nothing is undone.
fn output(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    // The caller's environment, LD_LIBRARY_PATH above all, says nothing about the image.
    command.env_clear().env("PATH", PROGRAMS).env("LC_ALL", "C");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut text = String::new();
    // The pipe is closed again after this, so that a program that we cannot read from ends too.
    let read = child.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text));
    let status = child.wait()?;
    read.map(|_| (status, text))
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    make_directories(to.parent().context("a program's path has a directory")?)?;
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o755)))
        .with_context(|| format!("copying {from:?} to {to:?}"))
}

/// Makes a directory and those above it, unless they are there; of mode 755.
fn make_directories(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    set.with_context(|| format!("setting the mode of {}", path.display()))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {path:?}"))
}
