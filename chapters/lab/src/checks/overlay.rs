//! Chapter 4, with overlayfs: a writable layer for each container, over an image that never changes.

pub(crate) mod leftovers;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Overlay;
use crate::checks::check::Check;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, cannot_run};
use crate::trial::runtime::Lab;
use crate::trial::strace::{each_failing, traced};

pub(crate) const CHECKS: &[&[Check]] = &[LAYERS, leftovers::CHECKS];

const LAYERS: &[Check] = &[
    Check::new(
        "writes-in-upper",
        Overlay,
        "What the container writes is in its upper directory on the host, and not in the image.",
        writes_in_upper,
    ),
    Check::new(
        "workspace-directories",
        Overlay,
        "containers/<id> has upper, work and merged in it.",
        workspace_directories,
    ),
    Check::new(
        "merged-unseen",
        Overlay,
        "The overlay is mounted in the container's namespace only: the host never has it.",
        merged_unseen,
    ),
    Check::new(
        "layers-merged",
        Overlay,
        "The container sees the image's files and its own in one tree, and its own first.",
        layers_merged,
    ),
    Check::new(
        "image-unchanged",
        Overlay,
        "Writing, deleting, renaming and chmod in the container leave the image as it was, byte for byte.",
        image_unchanged,
    ),
    Check::new(
        "whiteout",
        Overlay,
        "A deleted file of the image is a whiteout in upper: a character device 0:0.",
        whiteout,
    ),
    Check::new(
        "workspace-gone",
        Overlay,
        "The workspace is gone after the command's end, whatever the end was.",
        workspace_gone,
    ),
    Check::new(
        "workspace-leftover",
        Overlay,
        "What a killed run left in containers/ the next run takes away, and no one else's.",
        workspace_leftover,
    ),
    Check::new(
        "layer-fresh",
        Overlay,
        "A new container sees nothing of what an earlier one wrote.",
        layer_fresh,
    ),
    Check::new(
        "layers-apart",
        Overlay,
        "Two containers at once have the same image and see nothing of each other's files.",
        layers_apart,
    ),
    Check::new(
        "state-odd-names",
        Overlay,
        "A state directory with spaces, :, comma or backslash in its path works or is refused in one line.",
        state_odd_names,
    ),
    Check::new(
        "rootfs-unchanged",
        Overlay,
        "A directory given by --rootfs stays as it was.",
        rootfs_unchanged,
    ),
    Check::new(
        "overlay-fails",
        Overlay,
        "If the workspace's directories cannot be made, run returns 125 and the command never runs.",
        overlay_fails,
    ),
    Check::new(
        "volatile",
        Overlay,
        "The overlay is volatile (Linux 5.10): the container's end waits for no disk.",
        volatile,
    ),
    Check::new(
        "volatile-refused",
        Overlay,
        "Where the kernel refuses a volatile overlay, the container runs on one that is not.",
        volatile_refused,
    ),
];

fn writes_in_upper(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("touch /tmp/test.txt; ls /tmp; exec sleep 1000").start()?;
    run.wrote("test.txt\n")?;
    let upper = lab.workspace(&mut run)?.join("upper/tmp/test.txt");
    run.same(&format!("{} on the host:", upper.display()), true, upper.exists())?;
    let image = lab.image_in(&lab.state()).join("tmp/test.txt");
    run.same(&format!("{} on the host:", image.display()), false, image.exists())?;
    run.kill_command().map(drop)
}

fn workspace_directories(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let workspace = lab.workspace(&mut run)?;
    run.container()?;
    let directories = ["merged", "upper", "work"];
    let there = directories.into_iter().filter(|name| workspace.join(name).is_dir()).collect();
    run.same("of these directories, in the workspace:", Vec::from(directories), there)?;
    run.kill_command().map(drop)
}

fn merged_unseen(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("touch /here; echo ready; exec sleep 1000").start()?;
    run.wrote("ready")?;
    lab.host_unchanged(&format!("{} (while it ran)", run.line()))?;
    let merged = lab.workspace(&mut run)?.join("merged");
    let entries = fs::read_dir(&merged).with_context(|| format!("listing {}", merged.display()))?;
    run.same("entries in merged, seen from the host:", 0, entries.count())?;
    // Inside it is the root, and an overlay.
    let table = run.container()?.mounts()?;
    let root = table.iter().find(|mount| mount.point == "/").map(|mount| mount.filesystem.as_str());
    run.same("the container's root to be an", Some("overlay"), root)?;
    run.kill_command().map(drop)
}

pub(crate) fn layers_merged(lab: &Lab) -> Result<()> {
    let image = lab.image()?;
    fs::write(image.join("tmp/lll"), "lower\n")?;
    let script = "cd /tmp; echo upper > uuu; ls; cat lll uuu; echo changed > lll; cat lll";
    lab.sh(script).finish()?.succeeds()?.prints("lll\nuuu\nlower\nupper\nchanged\n")?;
    lab.run(["cat", "/tmp/lll"]).finish()?.succeeds()?.prints("lower\n")?;
    Ok(())
}

const CHANGES: &str = "
    echo two:x:2:2::/:/bin/sh >> /etc/passwd && rm /etc/group && chmod 777 /etc && mv /bin/ls /bin/list &&
    mkdir /new && touch /new/file && ln -s /new /link && rm -r /var && chown 5:5 /home && rm /bin/cat && echo x > /bin/cat";

pub(crate) fn image_unchanged(lab: &Lab) -> Result<()> {
    let before = Snapshot::of(&lab.image()?)?;
    let outcome = lab.sh(CHANGES).finish()?;
    outcome.succeeds()?;
    before.still(&outcome.line)
}

fn whiteout(lab: &Lab) -> Result<()> {
    let mut run = lab.sh("rm /etc/passwd; [ -e /etc/passwd ] || echo gone; exec sleep 1000").start()?;
    run.wrote("gone\n")?;
    let file = lab.workspace(&mut run)?.join("upper/etc/passwd");
    let data = fs::symlink_metadata(&file).with_context(|| format!("looking at {}", file.display()))?;
    let seen = (data.file_type().is_char_device(), data.rdev());
    run.same(&format!("{} a character device, with number", file.display()), (true, 0), seen)?;
    run.kill_command().map(drop)
}

fn workspace_gone(lab: &Lab) -> Result<()> {
    let gone = |did: &str| -> Result<()> { see::same(did, "of containers", Vec::new(), lab.containers()) };
    let deep = "mkdir -p /a/b/c && touch /a/b/c/d && chmod 0 /a/b && rm -r /etc && mkfifo /a/p; exit 7";
    for script in ["exit 0", deep, "sleep 1000 & cd /tmp; touch open; exec 3< open; sleep 1000 & exit 0"] {
        gone(&lab.sh(script).finish()?.line)?;
    }
    for command in ["no-such-command", "/etc/passwd"] {
        gone(&lab.run([command]).finish()?.line)?;
    }
    let mut run = lab.sh("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done").start()?;
    run.wrote("ready")?;
    run.signal(Signal::SIGTERM);
    let outcome = run.finish()?;
    outcome.exits(5)?;
    gone(&outcome.line)?;
    gone(&lab.run(["sleep", "1000"]).start()?.kill_command()?.line)
}

fn workspace_leftover(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let mut living = lab.run(["sleep", "1000"]).start()?;
    let kept = lab.workspace(&mut living)?;
    let mut killed = lab.run(["sleep", "1000"]).start()?;
    let left = lab.workspace(&mut killed)?;
    let container = killed.container()?;
    killed.kill_whole()?;
    killed.finish()?;
    see::wait_for(see::SOON, || Ok((!container.lives()).then_some(())))?;
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    let seen = (left.exists(), kept.exists());
    see::same(&outcome.line, "the workspace of a killed run, and of a running one:", (false, true), seen)?;
    living.kill_command().map(drop)
}

pub(crate) fn layer_fresh(lab: &Lab) -> Result<()> {
    lab.sh("touch /tmp/first && rm /etc/passwd").finish()?.succeeds()?;
    lab.sh("ls /tmp; ls /etc/passwd").finish()?.succeeds()?.prints("/etc/passwd\n")?;
    Ok(())
}

pub(crate) fn layers_apart(lab: &Lab) -> Result<()> {
    let mut one = lab.sh("echo one > /tmp/one; echo ready; exec sleep 1000").start()?;
    one.wrote("ready")?;
    let mut two = lab.sh("echo two > /tmp/two; ls /tmp; exec sleep 1000").start()?;
    two.wrote("two\n")?;
    two.same("in its /tmp", "two\n", String::from_utf8_lossy(&two.stdout()).as_ref())?;
    let (first, second) = (lab.workspace(&mut one)?, lab.workspace(&mut two)?);
    one.kill_command()?;
    two.same("the other's workspace, after its end:", false, first.exists())?;
    two.same("its own workspace, after the other's end:", true, second.exists())?;
    two.kill_command().map(drop)
}

fn state_odd_names(lab: &Lab) -> Result<()> {
    let names = [
        "two words",
        "co:lon",
        "com,ma",
        "back\\slash",
        "all: of,them\\ ",
        "quo\"te'",
        "new\nline",
        "per%cent",
        "\u{e4}",
    ];
    for name in names {
        let state = lab.path(name);
        let outcome =
            lab.sh("echo ran; touch /tmp/file; cat /etc/passwd | grep -c root").state(&state).finish()?;
        if outcome.status.success() {
            outcome.succeeds()?.prints("ran\n1\n")?;
            let image = lab.image_in(&state).join("tmp/file");
            see::same(&outcome.line, "the file in the image:", false, image.exists())?;
        } else {
            outcome.refuses(&[125])?;
        }
        see::same(&outcome.line, "of containers", Vec::new(), lab.containers_in(&state))?;
    }
    Ok(())
}

pub(crate) fn rootfs_unchanged(lab: &Lab) -> Result<()> {
    let copy = lab.path("own-root");
    let status = Command::new("cp").arg("-a").arg(lab.image()?).arg(&copy).status().context("running cp")?;
    if !status.success() {
        return Err(cannot_run("cp -a cannot copy the image"));
    }
    // A directory of someone's own need not have what ours has.
    for name in ["proc", "dev", "sys"] {
        fs::remove_dir(copy.join(name))?;
    }
    let before = Snapshot::of(&copy)?;
    let option = copy.to_str().context("the temporary directory's path is no text")?;
    let outcome = lab.sh(CHANGES).with(["--rootfs", option]).finish()?;
    outcome.succeeds()?;
    before.still(&outcome.line)
}

fn overlay_fails(lab: &Lab) -> Result<()> {
    each_failing(lab, "/^mkdir")
}

/// Whether a volatile overlay can be mounted here: not before Linux 5.10, nor after a write to this disk that failed.
fn can_be_volatile(lab: &Lab) -> Result<bool> {
    let probe = lab.folder("probe")?;
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(probe.join(name))?;
    }
    let top = probe.display();
    let options = format!("lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work,volatile");
    let merged = probe.join("merged");
    match mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str())) {
        Ok(()) => umount2(&merged, MntFlags::MNT_DETACH).map(|()| true).context("unmounting the probe"),
        Err(Errno::EINVAL | Errno::EIO) => Ok(false),
        Err(errno) => Err(errno).context("mounting an overlay"),
    }
}

fn volatile(lab: &Lab) -> Result<()> {
    if !can_be_volatile(lab)? {
        return Err(cannot_run("this kernel mounts no volatile overlay here"));
    }
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let table = run.container()?.mounts()?;
    let root = table.iter().find(|mount| mount.point == "/").context("the container has no root")?;
    // Some kernels of 2026 say it in two words.
    let volatile = root.super_options.split(',').any(|one| matches!(one, "volatile" | "fsync=volatile"));
    run.same(&format!("volatile among the options of its root, {}", root.super_options), true, volatile)?;
    run.kill_command().map(drop)
}

fn volatile_refused(lab: &Lab) -> Result<()> {
    const MOST: usize = 20;
    for errno in ["EINVAL", "EIO"] {
        let mut refused = 0;
        for number in 1..=MOST {
            let rule = format!("inject=mount:error={errno}:when={number}");
            let run = lab.run(["echo", "the command ran"]);
            let (outcome, trace) = traced(lab, &["-e", "trace=mount", "-e", &rule], run)?;
            let injected: Vec<_> = trace.lines().filter(|line| line.contains("(INJECTED)")).collect();
            if injected.is_empty() {
                break;
            }
            // strace counts in each process by itself, so another mount may have failed as well.
            if injected.iter().all(|call| call.contains("volatile")) {
                outcome.exits(0)?.prints("the command ran\n")?;
                let plain = |call: &str| {
                    call.contains("\"overlay\"") && call.ends_with("= 0") && !call.contains("volatile")
                };
                let mounted = trace.lines().any(plain);
                see::same(
                    &outcome.line,
                    "a mount of an overlay without volatile after that:",
                    true,
                    mounted,
                )?;
                refused += 1;
            }
        }
        if refused == 0 {
            return Err(cannot_run("no mount(2) of this runtime has the option, so none can be refused"));
        }
    }
    Ok(())
}
