//! The busybox image: made once, whole or not at all, from the host's busybox.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::{Images, Lifecycle, PivotRoot};
use crate::checks::check::Check;
use crate::machine::mounts::tmpfs;
use crate::see::{self, SOON, cannot_run, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "image-first-runs",
        PivotRoot,
        "Twenty first runs at once make one image, and all work.",
        first_runs,
    ),
    Check::new("image-reused", PivotRoot, "A later run takes the image that is there.", reused),
    Check::new(
        "image-interrupted",
        PivotRoot,
        "A first run that is killed while it makes the image spoils nothing for the next.",
        interrupted,
    ),
    Check::new(
        "image-file-limit",
        PivotRoot,
        "A first run that may not write files as long as the image's says so and keeps nothing half-made.",
        file_limit,
    ),
    Check::new(
        "image-applets",
        PivotRoot,
        "Every applet that busybox --list-full names is there and is busybox; but no linuxrc, which belongs to an initrd.",
        applets,
    ),
    Check::new(
        "busybox-decoys",
        PivotRoot,
        "What is only called busybox and comes first in PATH does not make an image that cannot run.",
        busybox_decoys,
    ),
    Check::new(
        "busybox-libraries",
        PivotRoot,
        "With a busybox that needs libraries the image has them, whatever LD_LIBRARY_PATH of the caller's says.",
        busybox_libraries,
    ),
    Check::new(
        "image-umask",
        PivotRoot,
        "A narrow umask of the caller's does not make the image unreadable for others.",
        narrow_umask,
    ),
    Check::new(
        "state-tidy",
        PivotRoot,
        "The state directory holds images/busybox, and containers perhaps, and nothing else.",
        state_tidy,
    ),
    Check::new(
        "rootfs-option",
        PivotRoot,
        "--rootfs DIR takes any directory as the image, and needs no other.",
        rootfs_option,
    ),
    // Later it is a layer of an overlay, which shows what is mounted below a layer as empty.
    Check::new(
        "rootfs-mounts-below",
        PivotRoot,
        "What is mounted below --rootfs DIR on the host comes along.",
        rootfs_mounts_below,
    )
    .until(PivotRoot),
    Check::new(
        "busybox-missing",
        PivotRoot,
        "Without a busybox on the host it says which package has it: busybox-static.",
        busybox_missing,
    )
    .without_container(),
    Check::new(
        "image-written",
        PivotRoot,
        "In this chapter the container still writes into the image.",
        image_written,
    )
    .until(PivotRoot),
];

fn first_runs(lab: &Lab) -> Result<()> {
    let start = |number| lab.run(["echo", &format!("run {number}")]).start();
    let runs = (0..20).map(start).collect::<Result<Vec<_>>>()?;
    for (number, run) in runs.into_iter().enumerate() {
        let outcome = run.finish()?;
        outcome.exits(0)?.prints(format!("run {number}\n"))?;
        // On a slow machine some may say what they wait for.
        let of_image = |line: &str| line.contains("busybox") || lab.has(Images) && line.contains("layers");
        if !outcome.error().lines().all(|line| line.contains("waiting") && of_image(line)) {
            return Err(outcome.differs("nothing on stderr, or what is waited for"));
        }
    }
    state_is_tidy(lab)
}

fn reused(lab: &Lab) -> Result<()> {
    let image = lab.image()?;
    fs::write(image.join("marker"), "made by the check\n")?;
    lab.run(["cat", "/marker"]).finish()?.succeeds()?.prints("made by the check\n")?;
    Ok(())
}

fn interrupted(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    // How long it takes here, so that the moments are spread over it.
    let begun = Instant::now();
    lab.run(["true"]).state(&lab.path("state-whole")).finish()?.succeeds()?;
    let whole = begun.elapsed();
    for moment in 0..15 {
        let state = lab.path(&format!("state-{moment}"));
        let mut run = lab.run(["true"]).state(&state).start()?;
        thread::sleep(whole * moment / 15);
        run.signal(Signal::SIGKILL);
        wait_for(SOON, || run.ended())?;
        lab.mark().gone(SOON);
        let script = "busybox --list-full | grep -v linuxrc | while read path; do [ -e \"/$path\" ] || echo \"$path is missing\"; done";
        lab.sh(script).state(&state).finish()?.succeeds()?.prints("")?;
    }
    Ok(())
}

fn file_limit(lab: &Lab) -> Result<()> {
    const SHORT: u64 = 50 * 1024;
    let limit = || Ok(setrlimit(Resource::RLIMIT_FSIZE, SHORT, SHORT)?);
    // The kernel's own way is SIGXFSZ, which ends a program in the middle.
    lab.sh("echo ran").prepared(limit).finish()?.refuses(&[125])?;
    let images = fs::read_dir(lab.state().join("images")).into_iter().flatten().flatten();
    let kept: Vec<_> = images.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name()).collect();
    see::same("a first run under ulimit -f 100", "no image to be kept:", Vec::<OsString>::new(), kept)?;
    lab.run(["true"]).finish()?.succeeds()?;
    Ok(())
}

fn applets(lab: &Lab) -> Result<()> {
    let script = "busybox --list-full | grep -v linuxrc | while read path; do
                      [ \"/$path\" -ef /bin/busybox ] || echo \"$path is not busybox\"
                  done; ls / | grep linuxrc";
    lab.sh(script).finish()?.prints("")?;
    Ok(())
}

/// With directories first in PATH.
fn path_with(first: &Path) -> Result<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = env::join_paths(std::iter::once(first.to_path_buf()).chain(env::split_paths(&path)))?;
    all.into_string().ok().context("PATH is no text")
}

fn busybox_decoys(lab: &Lab) -> Result<()> {
    let damaged = damaged_busybox(lab)?;
    for name in ["busybox", "busybox.static", "busybox-static"] {
        for (kind, content) in [
            ("script", &b"#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin exec busybox \"$@\"\n"[..]),
            ("empty", b""),
            ("elf", b"\x7fELF\x02\x01\x01\0 and nothing more"),
            ("damaged", &damaged),
            ("directory", b""),
        ] {
            let first = lab.folder(&format!("{kind}-{name}"))?;
            let decoy = first.join(name);
            if kind == "directory" {
                fs::create_dir(&decoy)?;
            } else {
                fs::write(&decoy, content)?;
                fs::set_permissions(&decoy, fs::Permissions::from_mode(0o755))?;
            }
            let state = lab.path(&format!("state-{kind}-{name}"));
            let run = || lab.sh("echo ran").state(&state);
            let outcome = run().variable("PATH", &path_with(&first)?).finish()?;
            if outcome.status.success() {
                outcome.succeeds()?.prints("ran\n")?;
            } else {
                outcome.refuses(&[125])?;
                see::same(&outcome.line, "an image made:", false, lab.image_in(&state).exists())?;
            }
            // What it left, if anything, is no hindrance.
            run().finish()?.succeeds()?.prints("ran\n")?;
        }
    }
    Ok(())
}

/// A busybox that starts, and tells what it can do, but has neither `true` nor `sh`: in its image nothing would run. In
/// the program their names stand between zeros, in order, and the order must stay.
fn damaged_busybox(lab: &Lab) -> Result<Vec<u8>> {
    let mut bytes = fs::read(lab.image()?.join("bin/busybox")).context("reading the image's busybox")?;
    for (name, other) in [(&b"\0true\0"[..], &b"\0trud\0"[..]), (b"\0sh\0", b"\0sg\0")] {
        for at in 0..bytes.len() - name.len() {
            if bytes[at..].starts_with(name) {
                bytes[at..at + name.len()].copy_from_slice(other);
            }
        }
    }
    Ok(bytes)
}

/// The host's busybox, if it is one that is loaded with libraries: the ELF file names its loader near its start.
fn dynamic_busybox() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/bin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let has_loader = |path: &PathBuf| {
        fs::read(path)
            .is_ok_and(|bytes| bytes[..bytes.len().min(4096)].windows(4).any(|part| part == b"/ld-"))
    };
    let mut candidates = env::split_paths(&path).chain(usual).map(|directory| directory.join("busybox"));
    candidates
        .find(has_loader)
        .ok_or_else(|| cannot_run("the host's busybox is static, and needs no libraries"))
}

fn busybox_libraries(lab: &Lab) -> Result<()> {
    let busybox = dynamic_busybox()?;
    let ldd = Command::new("ldd").arg(&busybox).output().context("running ldd")?;
    let libraries = lab.folder("libraries")?;
    // The loader itself has no `=>` before it, and is not looked for in this variable.
    for library in String::from_utf8_lossy(&ldd.stdout).lines().filter_map(|line| line.split("=> ").nth(1)) {
        let library = Path::new(library.split(' ').next().unwrap_or_default());
        fs::copy(library, libraries.join(library.file_name().context("a library has a name")?))
            .with_context(|| format!("copying {}", library.display()))?;
    }
    let elsewhere = libraries.to_str().context("the temporary directory's path is no text")?;
    let first = busybox.parent().context("busybox is in a directory")?;
    let run = lab.sh("echo ran").variable("PATH", &path_with(first)?).variable("LD_LIBRARY_PATH", elsewhere);
    run.finish()?.succeeds()?.prints("ran\n")?;
    lab.sh("busybox true && echo ran").finish()?.succeeds()?.prints("ran\n")?;
    Ok(())
}

fn narrow_umask(lab: &Lab) -> Result<()> {
    let narrow = || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        Ok(())
    };
    let script = "stat -c '%a %n' / /bin /etc /etc/passwd /usr /tmp /var/tmp /root";
    let modes = "755 /\n755 /bin\n755 /etc\n644 /etc/passwd\n755 /usr\n1777 /tmp\n1777 /var/tmp\n700 /root\n";
    lab.sh(script).prepared(narrow).finish()?.succeeds()?.prints(modes)?;
    Ok(())
}

fn state_is_tidy(lab: &Lab) -> Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(lab.state())?.flatten() {
        let inner = fs::read_dir(entry.path())?.flatten().map(|inner| inner.path());
        found.extend(inner.filter(|path| !path.ends_with("records/.unfinished")));
        let later = if lab.has(Lifecycle) { &["records", "names"][..] } else { &[] };
        if !["images", "containers"].iter().chain(later).any(|name| entry.file_name() == *name) {
            found.push(entry.path());
        }
    }
    let image = lab.state().join("images/busybox");
    if lab.has(Images) {
        // The image is in there, and what it was made of may be kept.
        found.retain(|path| !path.starts_with(lab.state().join("store")) && *path != image);
        found.push(image.clone());
    }
    see::same("ls $BYHAND_ROOT/*", "the state directory to hold", vec![image], found)
}

fn state_tidy(lab: &Lab) -> Result<()> {
    lab.image()?;
    lab.sh("touch /tmp/file; exit 3").finish()?.exits(3)?;
    lab.run(["no-such-command"]).finish()?.refuses(&[127])?;
    state_is_tidy(lab)
}

/// A copy of the image.
pub(crate) fn image_copied(lab: &Lab, name: &str) -> Result<PathBuf> {
    let copy = lab.path(name);
    let status = Command::new("cp").arg("-a").arg(lab.image()?).arg(&copy).status().context("running cp")?;
    if !status.success() {
        return Err(cannot_run("cp -a cannot copy the image"));
    }
    Ok(copy)
}

fn rootfs_mounts_below(lab: &Lab) -> Result<()> {
    let root = image_copied(lab, "root")?;
    let below = root.join("below");
    fs::create_dir(&below)?;
    tmpfs(&below, MsFlags::empty(), "size=64k")?;
    lab.arranged()?;
    fs::write(below.join("hello"), "from below\n")?;
    let option = root.to_str().context("a path that is no text")?;
    lab.run(["cat", "/below/hello"])
        .with(["--rootfs", option])
        .finish()?
        .succeeds()?
        .prints("from below\n")?;
    Ok(())
}

fn rootfs_option(lab: &Lab) -> Result<()> {
    let copy = image_copied(lab, "own root")?;
    fs::write(copy.join("hello"), "from the check\n")?;
    let option = copy.to_str().context("a path that is no text")?;
    let other = lab.path("other-state");
    let run = || lab.run(["cat", "/hello"]).state(&other);
    run().with(["--rootfs", option]).finish()?.succeeds()?.prints("from the check\n")?;
    // Relative, it starts from the current directory.
    let parent = copy.parent().context("the root has no parent")?;
    run().with(["--rootfs", "own root"]).inside(parent).finish()?.succeeds()?.prints("from the check\n")?;
    see::same("both", "a busybox image that nobody asked for:", false, lab.image_in(&other).exists())
}

/// Takes busybox away from the check's own host, by an overlay over each directory that has it.
fn hide_busybox(lab: &Lab) -> Result<()> {
    let layers = lab.folder("layers")?;
    tmpfs(&layers, MsFlags::empty(), "size=16m")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    for (number, directory) in env::split_paths(&path).chain(usual).enumerate() {
        for name in ["busybox", "busybox.static", "busybox-static"] {
            let busybox = directory.join(name);
            if !busybox.exists() {
                continue;
            }
            let (upper, work) =
                (layers.join(format!("upper{number}{name}")), layers.join(format!("work{number}{name}")));
            fs::create_dir(&upper)?;
            fs::create_dir(&work)?;
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                directory.display(),
                upper.display(),
                work.display()
            );
            mount(Some("overlay"), &directory, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
                .map_err(|errno| cannot_run(format!("hiding the host's busybox takes overlayfs: {errno}")))?;
            fs::remove_file(&busybox)?;
        }
    }
    lab.arranged()
}

fn busybox_missing(lab: &Lab) -> Result<()> {
    hide_busybox(lab)?;
    lab.sh("echo ran").finish()?.refuses(&[125])?.mentions("busybox-static")?;
    let left: Vec<_> = fs::read_dir(lab.state().join("images")).into_iter().flatten().flatten().collect();
    see::same("without a busybox on the host, run sh", "images made", 0, left.len())
}

fn image_written(lab: &Lab) -> Result<()> {
    let outcome = lab.run(["touch", "/tmp/test.txt"]).finish()?;
    outcome.succeeds()?;
    let there = lab.state().join("images/busybox/tmp/test.txt").exists();
    see::same(&outcome.line, "the file in the image on the host:", true, there)
}
