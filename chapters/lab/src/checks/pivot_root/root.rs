//! The root that the command sees, and that there is no way back from it: pivot_root(2).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use crate::chapter::Chapter::{Init, PivotRoot};
use crate::checks::check::Check;
use crate::trial::runtime::Lab;
use crate::trial::strace::each_failing;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "root-listing",
        PivotRoot,
        "ls / shows the image: bin dev etc home proc root sys tmp usr var.",
        root_listing,
    ),
    Check::new(
        "root-hides-host",
        PivotRoot,
        "No path leads to the host's files: not through .., not through /proc.",
        root_hides_host,
    ),
    Check::new(
        "root-of-namespace",
        PivotRoot,
        "The mount namespace's own root is the image: pivot_root, and not chroot.",
        root_of_namespace,
    ),
    Check::new(
        "mounts-inside",
        PivotRoot,
        "The container's mount table has /, /proc and /dev, and no mount of the host's.",
        mounts_inside,
    ),
    Check::new(
        "mount-flags",
        PivotRoot,
        "/proc is nosuid,nodev,noexec; /dev is a tmpfs, nosuid, of mode 755.",
        mount_flags,
    ),
    Check::new(
        "descriptors-no-way-out",
        PivotRoot,
        "While the command is looked for, no descriptor of the host's is open for the image's links to lead through.",
        descriptors_no_way_out,
    ),
    Check::new("working-directory", PivotRoot, "The command starts in /.", working_directory),
    Check::new(
        "pivot-fails",
        PivotRoot,
        "If pivot_root fails, run returns 125 and the command never runs.",
        pivot_fails,
    ),
    Check::new(
        "unmount-fails",
        PivotRoot,
        "If the old root cannot be unmounted, run returns 125 and the command never runs.",
        unmount_fails,
    ),
    Check::new(
        "chdir-fails",
        PivotRoot,
        "If the directory cannot be changed, run returns 125 and the command never runs.",
        chdir_fails,
    ),
];

fn root_listing(lab: &Lab) -> Result<()> {
    let outcome = lab.run(["ls", "/"]).finish()?;
    let output = outcome.succeeds()?.output();
    let seen: BTreeSet<_> = output.lines().collect();
    let usual = ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var"];
    // What busybox has applets in, and what it needs if it is not static.
    let allowed = ["sbin", "lib", "lib32", "lib64", "libx32", "linuxrc"];
    let missing: Vec<_> = usual.iter().filter(|name| !seen.contains(*name)).collect();
    let strange: Vec<_> =
        seen.iter().filter(|name| !usual.contains(name) && !allowed.contains(name)).collect();
    if missing.is_empty() && strange.is_empty() {
        return Ok(());
    }
    Err(outcome.differs(format!("{}; missing: {missing:?}, strange: {strange:?}", usual.join(" "))))
}

fn root_hides_host(lab: &Lab) -> Result<()> {
    let marker = lab.folder("of-the-host")?;
    let marker = marker.to_str().context("the temporary directory's path is no text")?;
    let script = "
        there() { [ ! -e \"$1\" ] || echo \"$1 is there\"; }
        there \"$marker\"
        for root in /proc/1/root /proc/self/root /proc/1/cwd /proc/self/cwd /dev/fd; do there \"$root$marker\"; done
        cd /tmp && for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cd ..; done
        there \".$marker\"
        [ \"$(ls .)\" = \"$(ls /)\" ] || echo 'cd .. leads out of /'
        [ \"$(ls /proc/1/root/)\" = \"$(ls /)\" ] || echo '/proc/1/root is not /'
        chroot /proc/1/root sh -c 'ls / > /dev/null' && there \"/../../..$marker\"
    ";
    lab.sh(&format!("marker='{marker}'; {script}")).finish()?.succeeds()?.prints("")?;
    Ok(())
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn root_of_namespace(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let container = run.container()?;
    let namespace = File::open(container.file("ns/mnt"))?;
    // Who enters a mount namespace stands in its root. After chroot(2) alone, that is still the host's.
    let entered = std::thread::spawn(move || -> Result<_> {
        unshare(CloneFlags::CLONE_FS)?;
        setns(namespace, CloneFlags::CLONE_NEWNS)?;
        names(Path::new("/"))
    });
    let entered = entered.join().ok().context("a thread panicked")??;
    let process = names(&container.path("/"))?;
    run.same("in the root of the container's mount namespace (nsenter --mount ls /)", process, entered)?;
    run.kill_command().map(drop)
}

fn mounts_inside(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let container = run.container()?;
    let table = container.mounts()?;
    let mut points: Vec<_> = table.iter().map(|mount| mount.point.as_str()).collect();
    points.sort_unstable();
    let mut expected = vec!["/", "/dev", "/proc"];
    if lab.has(Init) {
        expected.extend(["/dev/mqueue", "/dev/pts", "/dev/shm", "/sys"]);
        expected.sort_unstable();
    }
    run.same("the mount points", expected, points)?;
    run.kill_command().map(drop)
}

fn mount_flags(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let table = run.container()?.mounts()?;
    for (point, filesystem, options) in
        [("/proc", "proc", &["nosuid", "nodev", "noexec"][..]), ("/dev", "tmpfs", &["nosuid"][..])]
    {
        let Some(mount) = table.iter().find(|mount| mount.point == point) else {
            return Err(run.differs(format!("a mount on {point}"), "none"));
        };
        run.same(&format!("the file system on {point}"), filesystem, mount.filesystem.as_str())?;
        if !options.iter().all(|option| mount.has(option)) {
            return Err(run.differs(format!("{point} mounted {options:?}"), &mount.options));
        }
    }
    let mode = fs::metadata(run.container()?.path("/dev"))?;
    run.same("the mode of /dev", 0o755, std::os::unix::fs::MetadataExt::mode(&mode) & 0o7777)?;
    run.kill_command().map(drop)
}

fn working_directory(lab: &Lab) -> Result<()> {
    let outcome = lab.run(["pwd"]).inside(&lab.folder("somewhere")?).finish()?;
    outcome.succeeds()?.prints("/\n")?;
    Ok(())
}

fn pivot_fails(lab: &Lab) -> Result<()> {
    each_failing(lab, "pivot_root")
}

fn unmount_fails(lab: &Lab) -> Result<()> {
    each_failing(lab, "/^umount")
}

fn chdir_fails(lab: &Lab) -> Result<()> {
    each_failing(lab, "/^f?chdir$")
}

fn descriptors_no_way_out(lab: &Lab) -> Result<()> {
    let root = lab.folder("linked-root")?;
    let busybox = lab.image()?.join("bin/busybox");
    fs::create_dir(root.join("bin"))?;
    fs::copy(&busybox, root.join("bin/busybox")).context("copying busybox")?;
    // The host's program, beside the image; a descriptor of the host's anywhere on this disk leads there.
    fs::copy(&busybox, lab.path("hosts-own")).context("copying busybox")?;
    let option = root.to_str().context("the temporary directory's path is no text")?;
    let mut links = Vec::new();
    for number in 3..9 {
        for up in ["..", "../..", "../../..", "../../../.."] {
            links.push(format!("/proc/self/fd/{number}/{up}/hosts-own"));
        }
    }
    for (number, link) in links.iter().enumerate() {
        let directory = root.join(format!("link{number}"));
        fs::create_dir(&directory)?;
        symlink(link, directory.join("true"))?;
    }
    for (number, link) in links.iter().enumerate() {
        let command = format!("/link{number}/true");
        let outcome = lab.run([&command]).with(["--rootfs", option]).finish()?;
        if outcome.status.success() {
            return Err(outcome.differs(format!("no program at {command}, a link to {link}")));
        }
        outcome.refuses(&[126, 127])?;
    }
    Ok(())
}
