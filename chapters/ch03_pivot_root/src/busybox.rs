//! An image of the host's busybox, one program that is hundreds of commands: busybox(1), symlink(2), ldd(1), chroot(2).

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{chdir, chroot};

/// Names under which distributions install busybox. A static one comes first: it needs no libraries.
const NAMES: [&str; 3] = ["busybox.static", "busybox-static", "busybox"];

/// Where distributions have programs.
const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What a root has, besides the directories that programs are in; all of mode 755.
const DIRECTORIES: [&str; 8] = ["bin", "dev", "etc", "home", "proc", "sys", "usr", "var"];

/// The host's busybox, in PATH or where distributions have it.
pub fn find() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = env::split_paths(&path).chain(env::split_paths(PROGRAMS)).collect();
    let mut candidates = NAMES.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    let Some(busybox) = candidates.find(|candidate| is_program(candidate)) else {
        bail!(
            "no busybox on this host to make an image of: install the package busybox-static \
             (apt-get install busybox-static)"
        );
    };
    Ok(busybox)
}

/// Whether this is a program, and not a script that only leads to one.
fn is_program(path: &Path) -> bool {
    let executable = |data: fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
    let mut magic = [0; 4];
    fs::metadata(path).is_ok_and(executable)
        && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// Makes an image of a busybox in the directory `root`, and tries it.
pub fn install(busybox: &Path, root: &Path) -> Result<()> {
    make_tree(root)?;
    copy_program(busybox, &root.join("bin/busybox"))?;
    for library in libraries(busybox)? {
        copy_program(&library, &root.join(library.strip_prefix("/")?))?;
    }
    link_commands(busybox, root)?;
    try_out(root)
}

/// The directories of a root, and the three files that make `whoami` and `localhost` work.
fn make_tree(root: &Path) -> Result<()> {
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
    write_file(&root.join("etc/hosts"), "127.0.0.1\tlocalhost\n")
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

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    make_directories(to.parent().context("a program's path has a directory")?)?;
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o755)))
        .with_context(|| format!("copying {from:?} to {to:?}"))
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

/// Makes a link to busybox for each of its commands, at the path that it has for it.
fn link_commands(busybox: &Path, root: &Path) -> Result<()> {
    let mut list = Command::new(busybox);
    let (status, paths) = output(list.arg("--list-full")).with_context(|| format!("running {list:?}"))?;
    ensure!(status.success(), "{list:?} failed: {status}");
    // linuxrc is for the first moments of a machine's start, and stands alone in the root.
    for path in paths.lines().filter(|path| !["bin/busybox", "linuxrc"].contains(path)) {
        let link = root.join(path.trim_start_matches('/'));
        make_directories(link.parent().context("an applet's path has a directory")?)?;
        symlink("/bin/busybox", &link).with_context(|| format!("linking {link:?} to /bin/busybox"))?;
    }
    Ok(())
}

/// Runs a command of a new image once, in a child that has it as its root: an image without a library that its program
/// needs would stay for ever, and run nothing.
fn try_out(root: &Path) -> Result<()> {
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
