//! Images and arguments that mean harm: nothing outside the container is read, written or mounted.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use tar::{Builder, EntryType, Header};

use crate::chapter::Chapter::{Aufs, Overlay, PivotRoot, Run, Volumes};
use crate::checks::check::Check;
use crate::machine::mounts::{bind, rebind};
use crate::machine::snapshot::Snapshot;
use crate::see::{self, cannot_run};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "hostile-image",
        PivotRoot,
        "Whatever the image has for /proc, /dev, /tmp, bin/sh or a volume's target, nothing outside is touched.",
        hostile_image,
    ),
    Check::new(
        "read-only-image",
        PivotRoot,
        "A read-only image that lacks a mount point is refused, or works on a layer of its own.",
        read_only_image,
    ),
    Check::new(
        "tar-devices",
        PivotRoot,
        "A tar file with a device or a FIFO in it is refused, and no image stays.",
        tar_devices,
    ),
    Check::new(
        "tar-many-entries",
        PivotRoot,
        "A tar file of twenty thousand tiny files becomes an image.",
        tar_many_entries,
    ),
    Check::new(
        "many-arguments",
        Run,
        "Ten thousand arguments, and a megabyte of them, reach the command.",
        many_arguments,
    ),
    Check::new(
        "long-hostname",
        Run,
        "A hostname of 64 bytes is set, and one of 65 is refused.",
        long_hostname,
    ),
    Check::new("hundred-volumes", Volumes, "A hundred volumes are mounted, and unmounted.", hundred_volumes),
];

/// What stands in the place of a directory or a program of the image.
#[derive(Debug, Clone, Copy)]
enum Trap {
    Link(&'static str),
    /// A link to a directory of the host's, which holds what would be found there.
    Outside,
    Fifo,
    Device,
    Missing,
}

const TRAPS: [Trap; 10] = [
    Trap::Link("/"),
    Trap::Link("/.."),
    Trap::Link("../../../../.."),
    Trap::Link("loop"),
    Trap::Link("/proc/self/root"),
    Trap::Link("/proc/1/cwd"),
    Trap::Outside,
    Trap::Fifo,
    Trap::Device,
    Trap::Missing,
];

/// A copy of the image, to be spoilt.
fn copy(lab: &Lab, name: &str) -> Result<PathBuf> {
    let copy = lab.path(name);
    // Hard links of the files: quick, and no file is written to.
    let status = Command::new("cp").arg("-al").arg(lab.image()?).arg(&copy).status().context("running cp")?;
    if status.success() { Ok(copy) } else { Err(cannot_run("cp -al cannot copy the image")) }
}

fn set(trap: Trap, path: &Path, outside: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path)?,
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let mode = Mode::from_bits_truncate(0o755);
    match trap {
        Trap::Link("loop") => symlink(path.file_name().context("a trap has a name")?, path)?,
        Trap::Link(to) => symlink(to, path)?,
        Trap::Outside => symlink(outside.join("there"), path)?,
        Trap::Fifo => mknod(path, SFlag::S_IFIFO, mode, 0)?,
        Trap::Device => mknod(path, SFlag::S_IFCHR, mode, makedev(1, 3))?,
        Trap::Missing => {}
    }
    Ok(())
}

/// It works, or says in one line why not.
fn works_or_refuses(outcome: &Outcome) -> Result<()> {
    if outcome.output().starts_with("ran\n") { Ok(()) } else { outcome.refuses(&[125, 126, 127]).map(drop) }
}

fn hostile_image(lab: &Lab) -> Result<()> {
    let outside = lab.folder("outside")?;
    fs::create_dir(outside.join("there"))?;
    fs::write(outside.join("there/file"), "the host's\n")?;
    let before = Snapshot::of(&outside)?;
    let volume = format!("{}:/data/deep", lab.folder("volume")?.display());
    let spoilt = copy(lab, "spoilt")?;
    let mut count = 0;
    for place in ["proc", "dev", "tmp", "bin/sh", "data"] {
        for trap in TRAPS {
            let path = spoilt.join(place);
            let kept = lab.path("kept");
            let had = fs::rename(&path, &kept).is_ok();
            set(trap, &path, &outside)?;
            let root = spoilt.to_str().context("the temporary directory's path is no text")?;
            let shell = if place == "bin/sh" { "sh" } else { "/bin/busybox" };
            let script = "echo ran; echo x > /tmp/new; echo x > /dev/new; echo x > /data/new; ls /dev";
            let words = ["sh", "-c", script].into_iter().skip(usize::from(shell == "sh"));
            let mut run = lab.run(std::iter::once(shell).chain(words)).with(["--rootfs", root]);
            if lab.has(Volumes) {
                run = run.with(["-v", &volume]);
            }
            let outcome = run.finish()?;
            let did = format!("{} with /{place} in the image as {trap:?}", outcome.line);
            works_or_refuses(&outcome).with_context(|| did.clone())?;
            before.still(&did)?;
            lab.host_unchanged(&did)?;
            count += 1;
            // In chapter 3 the container writes into the image itself.
            set(Trap::Missing, &path, &outside)?;
            if had {
                fs::rename(&kept, &path)?;
            }
        }
    }
    println!("{:?}: {count} hostile images", lab.chapter());
    Ok(())
}

fn read_only_image(lab: &Lab) -> Result<()> {
    for place in ["proc", "dev"] {
        let spoilt = copy(lab, &format!("without-{place}"))?;
        fs::remove_dir(spoilt.join(place))?;
        bind(&spoilt, &spoilt)?;
        rebind(&spoilt, MsFlags::MS_RDONLY)?;
        lab.arranged()?;
        let root = spoilt.to_str().context("the temporary directory's path is no text")?;
        let outcome = lab.sh("echo ran").with(["--rootfs", root]).finish()?;
        if lab.has(Overlay) || lab.has(Aufs) {
            outcome.succeeds()?.prints("ran\n")?;
        } else {
            outcome.refuses(&[125])?.mentions(place)?.mentions("(EROFS)")?;
        }
    }
    Ok(())
}

/// A state directory with a tar file: the image, and these entries.
fn state_with_tar(lab: &Lab, name: &str, entries: &[(EntryType, String)]) -> Result<PathBuf> {
    let state = lab.path(name);
    fs::create_dir_all(state.join("images"))?;
    let mut tar = Builder::new(File::create(state.join("images/busybox.tar"))?);
    tar.follow_symlinks(false);
    tar.append_dir_all("", lab.image()?).context("packing the image")?;
    for (kind, name) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_path(name)?;
        header.set_mode(0o666);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_device_major(1)?;
        header.set_device_minor(3)?;
        header.set_cksum();
        tar.append(&header, std::io::empty()).context("writing a tar entry")?;
    }
    tar.finish()?;
    Ok(state)
}

fn tar_devices(lab: &Lab) -> Result<()> {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let state = state_with_tar(lab, &format!("{kind:?}"), &[(kind, "dev/evil".to_string())])?;
        let outcome = lab.sh("echo ran").state(&state).finish()?;
        outcome.refuses(&[125])?.mentions("evil")?;
        let made: Vec<_> =
            fs::read_dir(state.join("images"))?.flatten().map(|entry| entry.file_name()).collect();
        see::same(&outcome.line, "in images/", vec!["busybox.tar".into()], made)?;
    }
    Ok(())
}

fn tar_many_entries(lab: &Lab) -> Result<()> {
    // More take longer, and a check gives no run more than a minute. LAB_TAR_ENTRIES=200000 still passes.
    let many = std::env::var("LAB_TAR_ENTRIES").ok().map_or(Ok(20_000), |number| number.parse::<usize>())?;
    let entries: Vec<_> = (0..many).map(|number| (EntryType::Regular, format!("tmp/{number}"))).collect();
    let state = state_with_tar(lab, "many", &entries)?;
    let outcome = lab.sh("ls /tmp | wc -l").state(&state).finish()?;
    outcome.succeeds()?.prints(format!("{many}\n"))?;
    Ok(())
}

fn many_arguments(lab: &Lab) -> Result<()> {
    let script = ["sh", "-c", "echo $#; printf %s \"$@\" | wc -c", "sh"].map(String::from);
    let many = (0..10_000).map(|number| format!("argument {number:05}"));
    let outcome = lab.run(script.clone().into_iter().chain(many)).finish()?;
    see::same("ten thousand arguments", "status", Some(0), outcome.status.code())?;
    see::same("ten thousand arguments", "number and length", "10000\n140000\n", outcome.output().as_str())?;
    // One argument is at most 128 KiB: execve(2).
    let large = (0..16).map(|_| "x".repeat(64 * 1024));
    let outcome = lab.run(script.into_iter().chain(large)).finish()?;
    see::same("a megabyte of arguments", "status", Some(0), outcome.status.code())?;
    see::same("a megabyte of arguments", "number and length", "16\n1048576\n", outcome.output().as_str())
}

fn long_hostname(lab: &Lab) -> Result<()> {
    let name = "h".repeat(64);
    let run = |name: &str| lab.run(["cat", "/proc/sys/kernel/hostname"]).with(["--hostname", name]).finish();
    run(&name)?.succeeds()?.prints(format!("{name}\n"))?;
    run(&format!("{name}h"))?.refuses(&[125])?.mentions("hostname")?;
    Ok(())
}

fn hundred_volumes(lab: &Lab) -> Result<()> {
    let mut options = Vec::new();
    for number in 0..100 {
        let source = lab.folder(&format!("v{number}"))?;
        fs::write(source.join("file"), format!("{number}\n"))?;
        options.extend(["-v".to_string(), format!("{}:/v/{number}", source.display())]);
    }
    let outcome =
        lab.sh("cat /v/*/file | wc -l; for d in /v/*; do echo x > $d/new; done").with(&options).finish()?;
    outcome.succeeds()?.prints("100\n")?;
    let written = (0..100).filter(|number| lab.path(&format!("v{number}/new")).exists()).count();
    see::same("a hundred volumes", "files written in them", 100, written)
}
