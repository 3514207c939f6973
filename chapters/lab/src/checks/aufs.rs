//! Chapter 4, with aufs: a writable layer for each container, mounted on the host where all can look into it.
//!
//! Few kernels have aufs. What needs it is checked where it is, and the rest anywhere, with strace in the place of
//! the kernel: it shows the call that mounts, and lets it fail, or seem to work.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Aufs;
use crate::checks::check::Check;
use crate::checks::overlay::{image_unchanged, layer_fresh, layers_apart, layers_merged, rootfs_unchanged};
use crate::machine::aufs;
use crate::machine::mounts;
use crate::see::{self, cannot_run, wait_for};
use crate::trial::runtime::Lab;
use crate::trial::strace::traced;

pub(crate) const CHECKS: &[&[Check]] = &[ANYWHERE, WITH_AUFS];

const ANYWHERE: &[Check] = &[
    Check::new(
        "aufs-mount-call",
        Aufs,
        "The mount is of type aufs, on containers/<id>/mnt, with dirs=WRITELAYER:IMAGE.",
        mount_call,
    )
    .without_container(),
    Check::new(
        "aufs-missing",
        Aufs,
        "On a kernel without aufs, run says so in one line and what to do, with 125, and leaves nothing behind.",
        missing,
    )
    .without_container(),
    Check::new("aufs-modprobe", Aufs, "Before it gives up, run tries modprobe aufs.", modprobe).without_container(),
    Check::new(
        "aufs-undo-order",
        Aufs,
        "Undone in this order: umount, rmdir of mnt, and then the write layer.",
        undo_order,
    )
    .without_container(),
    Check::new(
        "aufs-umount-fails",
        Aufs,
        "If the umount fails, run says so and leaves the mount point and the write layer in place.",
        umount_fails,
    )
    .without_container(),
    Check::new(
        "aufs-foreign-mount",
        Aufs,
        "What somebody else has mounted on mnt stays, with all that is in it, and so does the workspace.",
        foreign_mount,
    )
    .without_container(),
];

const WITH_AUFS: &[Check] = &[
    Check::new(
        "aufs-on-host",
        Aufs,
        "While it runs, the union is mounted on the host on containers/<id>/mnt, and afterwards it is not.",
        on_host,
    ),
    Check::new(
        "aufs-write-layer",
        Aufs,
        "What the container writes is in its writeLayer and its mnt on the host, and not in the image.",
        write_layer,
    ),
    Check::new(
        "aufs-whiteout",
        Aufs,
        "A deleted file of the image is a whiteout in writeLayer: an empty file .wh.NAME.",
        whiteout,
    ),
    Check::new(
        "aufs-layers-merged",
        Aufs,
        "The container sees the image's files and its own in one tree, and its own first.",
        layers_merged,
    ),
    Check::new(
        "aufs-image-unchanged",
        Aufs,
        "Writing, deleting, renaming and chmod in the container leave the image as it was, byte for byte.",
        image_unchanged,
    ),
    Check::new(
        "aufs-rootfs-unchanged",
        Aufs,
        "A directory given by --rootfs stays as it was.",
        rootfs_unchanged,
    ),
    Check::new(
        "aufs-layer-fresh",
        Aufs,
        "A new container sees nothing of what an earlier one wrote.",
        layer_fresh,
    ),
    Check::new(
        "aufs-layers-apart",
        Aufs,
        "Two containers at once have the same image and see nothing of each other's files.",
        layers_apart,
    ),
    Check::new(
        "aufs-gone",
        Aufs,
        "Mount and workspace are gone after the command's end, whatever the end was.",
        workspace_gone,
    ),
    Check::new(
        "aufs-busy",
        Aufs,
        "A mount in use on the host stays, with all that is in it, and run says so; the next run takes it away.",
        busy,
    ),
    Check::new(
        "aufs-leftover",
        Aufs,
        "The mount and workspace of a killed run are taken away by the next one, and no one else's.",
        leftover,
    ),
];

/// The image, made by a run that need not get any further.
fn made_image(lab: &Lab) -> Result<PathBuf> {
    lab.run(["true"]).finish()?;
    Ok(lab.state().join("images/busybox"))
}

/// Whether something is mounted there on the check's host, and what.
fn mounted(path: &Path) -> Result<Option<String>> {
    let point = path.to_str().context("the temporary directory's path is no text")?;
    Ok(mounts::table()?.into_iter().find(|mount| mount.point == point).map(|mount| mount.filesystem))
}

/// The first mount(2) made to fail as on a kernel without aufs, so that this holds where there is one.
const NO_AUFS: &str = "inject=mount:error=ENODEV:when=1";

/// The first mount(2) made to seem to work, so that there is something to undo where there is no aufs. The
/// container cannot start: its root is not mounted.
const AS_IF_MOUNTED: &str = "inject=mount:retval=0:when=1";

fn mount_call(lab: &Lab) -> Result<()> {
    let image = made_image(lab)?;
    let (outcome, trace) = traced(lab, &["-e", "trace=mount", "-e", NO_AUFS], lab.sh("echo ran"))?;
    let call = trace.lines().find(|line| line.contains("\"aufs\"")).unwrap_or_default();
    let containers = lab.state().join("containers");
    let parts = call.split('"').collect::<Vec<_>>();
    // mount("none", "MNT", "aufs", 0, "dirs=...")
    let (mnt, options) =
        (parts.get(3).copied().unwrap_or_default(), parts.get(7).copied().unwrap_or_default());
    let directory = Path::new(mnt).parent().unwrap_or(Path::new(""));
    let right = directory.parent() == Some(&containers)
        && mnt.ends_with("/mnt")
        && options == format!("dirs={}/writeLayer:{}", directory.display(), image.display());
    if right {
        return Ok(());
    }
    let expected = format!(
        "mount(\"none\", \"{0}/ID/mnt\", \"aufs\", 0, \"dirs={0}/ID/writeLayer:{1}\")",
        containers.display(),
        image.display()
    );
    Err(outcome.differs(format!("{expected}, and strace shows {call:?}")))
}

fn missing(lab: &Lab) -> Result<()> {
    let (outcome, _) = traced(lab, &["-e", "trace=mount", "-e", NO_AUFS], lab.sh("echo ran"))?;
    outcome.refuses(&[125])?.mentions("aufs")?;
    see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())?;
    if !aufs::on_this_kernel() {
        let outcome = lab.sh("echo ran").finish()?;
        outcome.refuses(&[125])?.mentions("aufs")?.mentions("ch04_overlay")?.mentions("vagrant")?;
        see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())?;
    }
    Ok(())
}

fn modprobe(lab: &Lab) -> Result<()> {
    if aufs::on_this_kernel() {
        return Err(cannot_run("this kernel has aufs already"));
    }
    // In PATH stands a modprobe that writes down what it is asked for.
    let (directory, asked) = (lab.folder("bin")?, lab.path("asked"));
    let program = directory.join("modprobe");
    fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> '{}'\nexit 1\n", asked.display()))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
    let outcome = lab.sh("echo ran").variable("PATH", &path).finish()?;
    outcome.refuses(&[125])?;
    let asked = fs::read_to_string(&asked).unwrap_or_default();
    see::same(&outcome.line, "modprobe to be run, once, with", "aufs", asked.trim())
}

/// Whether a line of strace's shows the removal of a directory.
fn removes(line: &str) -> bool {
    line.contains("rmdir(") || (line.contains("unlinkat(") && line.contains("AT_REMOVEDIR"))
}

/// What is to be seen, and how to tell a line of strace's that shows it.
type Step = (&'static str, fn(&str) -> bool);

fn undo_order(lab: &Lab) -> Result<()> {
    made_image(lab)?;
    let calls = "trace=mount,umount2,rmdir,unlink,unlinkat,openat,open";
    let (outcome, trace) = traced(lab, &["-e", calls, "-e", AS_IF_MOUNTED], lab.sh("echo ran"))?;
    outcome.exits(125)?.prints("")?;
    let mut lines = trace.lines().skip_while(|line| !line.contains("\"aufs\""));
    let steps: [Step; 3] = [
        ("umount2 of mnt", |line| line.contains("umount2(") && line.contains("/mnt\"")),
        ("rmdir of mnt", |line| removes(line) && line.contains("/mnt\"")),
        ("removal of writeLayer", |line| removes(line) && line.contains("writeLayer\"")),
    ];
    for (step, is_it) in steps {
        if !lines.any(is_it) {
            return Err(
                outcome.differs(format!("{step}, in the order of this check's sentence; strace: {trace}"))
            );
        }
    }
    see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())
}

fn umount_fails(lab: &Lab) -> Result<()> {
    made_image(lab)?;
    let rules = ["-e", "trace=mount,umount2", "-e", AS_IF_MOUNTED, "-e", "inject=umount2:error=EBUSY"];
    let (outcome, _) = traced(lab, &rules, lab.sh("echo ran"))?;
    outcome.exits(125)?.prints("")?.mentions("busy")?.mentions("/mnt")?;
    let left = lab.containers();
    let whole = |directory: &PathBuf| directory.join("mnt").is_dir() && directory.join("writeLayer").is_dir();
    see::same(&outcome.line, "workspaces left as they were:", 1, left.iter().filter(|d| whole(d)).count())?;
    // The next run comes by later and takes it away, whether that run itself works or not.
    let outcome = lab.sh("echo ran").finish()?;
    see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())
}

/// As after a run that was killed before it mounted anything: what is on `mnt` then cannot be ours.
fn foreign_mount(lab: &Lab) -> Result<()> {
    made_image(lab)?;
    let rules = ["-e", "trace=mount,umount2", "-e", AS_IF_MOUNTED, "-e", "inject=umount2:error=EBUSY"];
    let (outcome, _) = traced(lab, &rules, lab.sh("echo ran"))?;
    let [workspace] = &lab.containers()[..] else {
        return Err(outcome.differs("one workspace left, for its mount could not be undone"));
    };
    stays_mounted(lab, workspace, || Ok(lab.run(["true"]).finish()?.line))?;
    if aufs::on_this_kernel() {
        // Over the union of a container that goes on, and ends.
        let mut run = lab.run(["sleep", "1000"]).start()?;
        let workspace = lab.workspace(&mut run)?;
        stays_mounted(lab, &workspace, || {
            let outcome = run.kill_command()?;
            outcome.exits(125)?.mentions("tmpfs")?;
            Ok(outcome.line)
        })?;
    }
    Ok(())
}

/// Mounts a tmpfs on the workspace's `mnt`, without a name as the union has none, and lets a run come by, and the next.
fn stays_mounted(lab: &Lab, workspace: &Path, comes_by: impl FnOnce() -> Result<String>) -> Result<()> {
    let mnt = workspace.join("mnt");
    mount(Some("none"), &mnt, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("mounting a tmpfs")?;
    fs::write(mnt.join("file"), "precious\n")?;
    let text = || fs::read_to_string(mnt.join("file")).unwrap_or_default();
    see::same(&comes_by()?, "in the tmpfs:", "precious\n", text().as_str())?;
    let outcome = lab.run(["true"]).finish()?;
    outcome.mentions("tmpfs")?;
    see::same(&outcome.line, "in the tmpfs:", "precious\n", text().as_str())?;
    umount2(&mnt, MntFlags::empty()).context("unmounting the tmpfs")?;
    let outcome = lab.run(["true"]).finish()?;
    see::same(&outcome.line, "in containers/, when nothing else is mounted:", Vec::new(), lab.containers())
}

fn on_host(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let mnt = lab.workspace(&mut run)?.join("mnt");
    run.same(&format!("on {}:", mnt.display()), Some("aufs".to_string()), mounted(&mnt)?)?;
    let outcome = run.kill_command()?;
    see::same(&outcome.line, &format!("on {}:", mnt.display()), None, mounted(&mnt)?)
}

fn write_layer(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("touch /tmp/test.txt; ls /tmp; exec sleep 1000").start()?;
    run.wrote("test.txt\n")?;
    let workspace = lab.workspace(&mut run)?;
    for (place, there) in [
        (workspace.join("writeLayer/tmp/test.txt"), true),
        (workspace.join("mnt/tmp/test.txt"), true),
        (lab.state().join("images/busybox/tmp/test.txt"), false),
    ] {
        run.same(&format!("{} on the host:", place.display()), there, place.exists())?;
    }
    run.kill_command().map(drop)
}

fn whiteout(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("rm /etc/passwd; [ -e /etc/passwd ] || echo gone; exec sleep 1000").start()?;
    run.wrote("gone\n")?;
    let workspace = lab.workspace(&mut run)?;
    let file = workspace.join("writeLayer/etc/.wh.passwd");
    let size = fs::symlink_metadata(&file).with_context(|| format!("looking at {}", file.display()))?.len();
    run.same(&format!("the size of {}:", file.display()), 0, size)?;
    let seen = workspace.join("mnt/etc/passwd").exists();
    run.same("the file in mnt, seen from the host:", false, seen)?;
    run.kill_command().map(drop)
}

fn workspace_gone(lab: &Lab) -> Result<()> {
    let gone = |did: &str| see::same(did, "in containers/", Vec::new(), lab.containers());
    let deep = "mkdir -p /a/b/c && touch /a/b/c/d && chmod 0 /a/b && rm -r /etc && mkfifo /a/p; exit 7";
    for script in ["exit 0", deep, "sleep 1000 & cd /tmp; touch open; exec 3< open; sleep 1000 & exit 0"] {
        gone(&lab.sh(script).finish()?.line)?;
    }
    for command in ["no-such-command", "/etc/passwd"] {
        gone(&lab.run([command]).finish()?.line)?;
    }
    gone(&lab.run(["sleep", "1000"]).start()?.kill_command()?.line)
}

fn busy(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("echo precious > /tmp/file; echo ready; exec sleep 1000").start()?;
    run.wrote("ready")?;
    let workspace = lab.workspace(&mut run)?;
    let mnt = workspace.join("mnt");
    let user = File::open(mnt.join("tmp/file")).context("opening a file in mnt on the host")?;
    let outcome = run.kill_command()?;
    outcome.exits(125)?.mentions("busy")?.mentions("/mnt")?;
    see::same(&outcome.line, "on mnt, still:", Some("aufs".to_string()), mounted(&mnt)?)?;
    let text = fs::read_to_string(workspace.join("writeLayer/tmp/file")).unwrap_or_default();
    see::same(&outcome.line, "in the write layer, still:", "precious\n", text.as_str())?;
    drop(user);
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())
}

fn leftover(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let mut living = lab.run(["sleep", "1000"]).start()?;
    let kept = lab.workspace(&mut living)?;
    let mut killed = lab.run(["sleep", "1000"]).start()?;
    let left = lab.workspace(&mut killed)?;
    let container = killed.container()?;
    killed.signal(Signal::SIGKILL);
    killed.finish()?;
    wait_for(see::SOON, || Ok((!container.lives()).then_some(())))?;
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    let seen = (mounted(&left.join("mnt"))?, left.exists(), mounted(&kept.join("mnt"))?.is_some());
    let expected = (None, false, true);
    see::same(
        &outcome.line,
        "mount and workspace of the killed run, mount of the living one:",
        expected,
        seen,
    )?;
    living.kill_command().map(drop)
}
