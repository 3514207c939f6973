//! The data in a volume: shared with the host while the container runs, and safe when it ends.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::Signal;

use super::sources::{source, volume};
use crate::chapter::Chapter::Volumes;
use crate::checks::check::Check;
use crate::machine::host::HostState;
use crate::machine::mounts;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "volume-directory",
        Volumes,
        "-v SRC:DST shows the host's directory, and the container can write there.",
        directory,
    ),
    Check::new(
        "volume-live",
        Volumes,
        "What either side writes the other sees at once, and the host keeps it after the end.",
        live,
    ),
    Check::new(
        "volume-mounts-below",
        Volumes,
        "What is mounted below SRC is in the volume as well.",
        mounts_below,
    ),
    Check::new("volume-file", Volumes, "-v works with a single file.", file),
    Check::new(
        "volume-several",
        Volumes,
        "-v can be given again and again, one volume below another too.",
        several,
    ),
    Check::new(
        "volume-source-made",
        Volumes,
        "A missing SRC is made as a directory of mode 755, whatever the umask.",
        source_made,
    ),
    Check::new(
        "volume-source-relative",
        Volumes,
        "A relative SRC starts from the current directory.",
        source_relative,
    ),
    Check::new(
        "volume-names",
        Volumes,
        "SRC and DST may have spaces and other odd characters in them.",
        names,
    ),
    Check::new(
        "volume-survives",
        Volumes,
        "A volume's data survives the end of its container, busy or killed.",
        survives,
    ),
    Check::new(
        "volume-survives-kill",
        Volumes,
        "A volume's data survives SIGKILL of run at any moment.",
        survives_kill,
    ),
    Check::new(
        "volume-rest-untouched",
        Volumes,
        "Of the host's files, only those in the volume can be changed.",
        rest_untouched,
    ),
    Check::new(
        "volume-not-in-image",
        Volumes,
        "The mount point is made in the container's layer, and the image stays as it was.",
        not_in_image,
    ),
    Check::new(
        "volume-flags-kept",
        Volumes,
        "A volume from a mount with nosuid, nodev, noexec keeps these, read-only or not.",
        flags_kept,
    ),
];

fn directory(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let run = |mode: &str| {
        lab.sh("cat /data/file && echo inside > /data/new && ls /data").with(volume(&source, mode))
    };
    for mode in ["/data", "/data:rw", "/data/"] {
        let outcome = run(mode).finish()?;
        outcome.succeeds()?.prints("the host's\nfile\nnew\n")?;
        let new = fs::read_to_string(source.join("new")).unwrap_or_default();
        see::same(&outcome.line, "afterwards, in SRC/new on the host,", "inside\n", new.as_str())?;
        fs::remove_file(source.join("new"))?;
    }
    Ok(())
}

fn live(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let script = "echo inside > /data/new; echo ready; while [ ! -e /data/answer ]; do sleep 0.05; done; cat /data/answer";
    let mut run = lab.sh(script).with(volume(&source, "/data")).start()?;
    run.wrote("ready")?;
    let new = || fs::read_to_string(source.join("new")).unwrap_or_default();
    run.same("during the run, in SRC/new on the host,", "inside\n", new().as_str())?;
    fs::write(source.join("answer.part"), "from the host\n")?;
    fs::rename(source.join("answer.part"), source.join("answer"))?; // so that it is there as a whole
    run.wrote("from the host\n")?;
    let outcome = run.finish()?;
    outcome.succeeds()?;
    see::same(&outcome.line, "after the run, in SRC/new on the host,", "inside\n", new().as_str())
}

fn file(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let file = source.join("file");
    let script = |path: &str| format!("cat {path} && echo inside > {path}");
    // Onto a file of the image, and to where there is none.
    for target in ["/etc/passwd", "/new/deep/file"] {
        fs::write(&file, "the host's\n")?;
        let outcome = lab.sh(&script(target)).with(volume(&file, target)).finish()?;
        outcome.succeeds()?.prints("the host's\n")?;
        see::same(&outcome.line, "in the file on the host", "inside\n", fs::read_to_string(&file)?.as_str())?;
    }
    Ok(())
}

fn several(lab: &Lab) -> Result<()> {
    let (one, two) = (source(lab, "one")?, source(lab, "two")?);
    fs::write(one.join("number"), "1\n")?;
    fs::write(two.join("number"), "2\n")?;
    let script = "cat /one/number /two/number; touch /one/a /two/b";
    let run = lab.sh(script).with(volume(&one, "/one")).with(volume(&two, "/two:rw"));
    run.finish()?.succeeds()?.prints("1\n2\n")?;
    see::same(
        "touch /one/a /two/b",
        "both on the host:",
        (true, true),
        (one.join("a").exists(), two.join("b").exists()),
    )?;
    // One below the other, in either order.
    let script = "cat /one/number /one/below/number";
    let volumes = [volume(&one, "/one"), volume(&two, "/one/below")];
    lab.sh(script).with(volumes.iter().flatten()).finish()?.succeeds()?.prints("1\n2\n")?;
    lab.sh(script).with(volumes.iter().rev().flatten()).finish()?.succeeds()?.prints("1\n2\n")?;
    // The same directory at two places.
    let run = lab.sh("echo x > /a/x; cat /b/x").with(volume(&one, "/a")).with(volume(&one, "/b"));
    run.finish()?.succeeds()?.prints("x\n")?;
    Ok(())
}

fn source_made(lab: &Lab) -> Result<()> {
    for (name, mask) in [("missing", 0o022), ("deep/er", 0o077)] {
        let source = lab.path(name);
        let narrow = move || {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
            Ok(())
        };
        let run = lab.sh("echo inside > /data/new").with(volume(&source, "/data")).prepared(narrow);
        let outcome = run.finish()?;
        outcome.succeeds()?;
        let data = fs::metadata(&source).with_context(|| format!("{} on the host", source.display()))?;
        let seen = (data.is_dir(), format!("{:o}", data.mode() & 0o7777));
        see::same(&outcome.line, "SRC a directory, its mode", (true, "755".to_string()), seen)?;
        see::same(&outcome.line, "in SRC/new", "inside\n", fs::read_to_string(source.join("new"))?.as_str())?;
    }
    Ok(())
}

fn source_relative(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let here = source.parent().context("the source has no parent")?;
    let run = |name: &str| lab.run(["cat", "/data/file"]).with(volume(Path::new(name), "/data"));
    run("source").inside(here).finish()?.succeeds()?.prints("the host's\n")?;
    run("./source").inside(here).finish()?.succeeds()?.prints("the host's\n")?;
    run(".").inside(&source).finish()?.succeeds()?.prints("the host's\n")?;
    run("../source").inside(&source).finish()?.succeeds()?.prints("the host's\n")?;
    let made = lab.run(["true"]).with(volume(Path::new("new"), "/data")).inside(here).finish()?;
    made.succeeds()?;
    see::same(&made.line, "the new SRC in the current directory:", true, here.join("new").is_dir())
}

fn names(lab: &Lab) -> Result<()> {
    for name in ["two words", "com,ma", "back\\slash", "new\nline", "\u{e4}", "-dash", "$HOME"] {
        let source = source(lab, name)?;
        let run =
            lab.run(["cat", &format!("/mnt/{name}/file")]).with(volume(&source, &format!("/mnt/{name}")));
        run.finish()?.succeeds()?.prints("the host's\n")?;
    }
    Ok(())
}

fn survives(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let before = Snapshot::of(&source)?;
    // Each of these keeps the volume busy when the command ends.
    for script in [
        "exit 0",
        "exit 7",
        "cd /data && sleep 1000 & exit 0",
        "sh -c 'exec 3< /data/file; sleep 1000' & sleep 0.1; exit 0",
    ] {
        let outcome = lab.sh(script).with(volume(&source, "/data")).finish()?;
        before.still(&outcome.line)?;
    }
    let outcome = lab.run(["no-such-command"]).with(volume(&source, "/data")).finish()?;
    outcome.refuses(&[127])?;
    before.still(&outcome.line)?;
    let outcome =
        lab.sh("cd /data; exec sleep 1000").with(volume(&source, "/data")).start()?.kill_command()?;
    before.still(&outcome.line)?;
    busy_for_the_host(lab, &source, &before)?;
    host_mounted_in_workspace(lab, &source, &before)
}

/// Processes of the host can keep a mount busy, too, wherever they see it.
fn busy_for_the_host(lab: &Lab, source: &Path, before: &Snapshot) -> Result<()> {
    let host = HostState::now()?;
    let mut run = lab.sh("echo ready; exec sleep 1000").with(volume(source, "/data")).start()?;
    run.wrote("ready")?;
    let inside = run.container()?.path("/data/file");
    let mut open = vec![File::open(&inside).with_context(|| format!("opening {}", inside.display()))?];
    // None if the runtime mounts in the container's namespace only.
    for point in host.new_mounts() {
        open.extend(File::open(point));
    }
    let outcome = run.kill_command()?;
    before.still(&format!("{} (with the volume open on the host)", outcome.line))
}

/// What someone has mounted where the container's root was is no part of it.
fn host_mounted_in_workspace(lab: &Lab, source: &Path, before: &Snapshot) -> Result<()> {
    let mut run = lab.sh("echo ready; exec sleep 1000").start()?;
    run.wrote("ready")?;
    let Some(point) = lab.containers().into_iter().map(|path| path.join("merged")).find(|path| path.is_dir())
    else {
        return run.kill_command().map(drop); // a runtime that has its files elsewhere
    };
    mounts::bind(source, &point)?;
    lab.runtime_was_killed(); // it may leave a directory that has a mount in it
    let outcome = run.kill_command()?;
    before.still(&format!("{} (with a mount of the host's on {})", outcome.line, point.display()))?;
    // The next run finds it, too.
    lab.run(["true"]).finish()?;
    before.still(&outcome.line)?;
    if mounts::table()?.iter().any(|mount| Path::new(&mount.point) == point) {
        umount2(&point, MntFlags::MNT_DETACH).context("unmounting what the check has mounted")?;
    }
    Ok(())
}

fn mounts_below(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let below = lab.folder("source/below")?;
    mounts::tmpfs(&below, MsFlags::MS_NOSUID, "size=1m")?;
    fs::write(below.join("file"), "below\n")?;
    lab.arranged()?;
    let script = "cat /data/below/file; echo inside > /data/below/new";
    let outcome = lab.sh(script).with(volume(&source, "/data")).finish()?;
    outcome.succeeds()?.prints("below\n")?;
    let new = fs::read_to_string(below.join("new")).unwrap_or_default();
    see::same(&outcome.line, "in SRC/below/new on the host", "inside\n", new.as_str())
}

fn survives_kill(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let source = source(lab, "source")?;
    lab.image()?;
    let before = Snapshot::of(&source)?;
    let mut whole = Duration::ZERO; // until the container is there
    for moment in 0..20 {
        let busy = lab.sh("cd /data && exec 3< file; sleep 1000 & sleep 1000").with(volume(&source, "/data"));
        let begun = Instant::now();
        let mut run = busy.start()?;
        if moment == 0 {
            run.container()?;
            whole = begun.elapsed();
        } else {
            thread::sleep(whole * moment / 20);
        }
        run.signal(Signal::SIGKILL);
        wait_for(SOON, || run.ended())?;
        run.same("processes left", 0, lab.mark().gone(SOON).len())?;
        before.still(run.line())?;
        lab.host_unchanged(run.line())?;
    }
    // A later run must not stumble over what the killed ones left, nor tidy up in the volume.
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    before.still(&outcome.line)
}

fn rest_untouched(lab: &Lab) -> Result<()> {
    let parent = lab.folder("parent")?;
    let source = source(lab, "parent/source")?;
    fs::write(parent.join("beside"), "not in the volume\n")?;
    // All but the volume, and its directory, whose own times are the volume's.
    let beside = Snapshot::of(&parent.join("beside"))?;
    let script = "rm -rf /data/* /data/../beside; echo x > /data/../beside; cd /data; echo x > ../beside; rm -rf ../source/../beside; ls /data";
    let outcome = lab.sh(script).with(volume(&source, "/data")).finish()?;
    outcome.exits(0)?.prints("")?;
    beside.still(&outcome.line)?;
    let mut left: Vec<_> = fs::read_dir(&parent)?.flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    see::same(&outcome.line, "beside the volume on the host", vec!["beside".into(), "source".into()], left)
}

fn not_in_image(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let before = Snapshot::of(&lab.image()?)?;
    for target in ["/new/deep/data", "/etc", "/etc/deep"] {
        let outcome = lab.sh(&format!("cat {target}/file")).with(volume(&source, target)).finish()?;
        outcome.succeeds()?.prints("the host's\n")?;
        before.still(&outcome.line)?;
    }
    Ok(())
}

fn flags_kept(lab: &Lab) -> Result<()> {
    let source = lab.folder("source")?;
    mounts::tmpfs(&source, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, "size=1m")?;
    lab.arranged()?;
    for (mode, option) in [("/data", "rw"), ("/data:ro", "ro")] {
        let mut run = lab.run(["sleep", "1000"]).with(volume(&source, mode)).start()?;
        let table = run.container()?.mounts()?;
        let Some(mount) = table.into_iter().find(|mount| mount.point == "/data") else {
            return Err(run.differs("a mount on /data", "none"));
        };
        if !["nosuid", "nodev", "noexec", option].iter().all(|one| mount.has(one)) {
            return Err(run.differs(format!("/data mounted nosuid,nodev,noexec,{option}"), mount.options));
        }
        run.kill_command()?;
    }
    // Nor does it get any that the host has not.
    let plain = lab.folder("plain")?;
    mounts::tmpfs(&plain, MsFlags::empty(), "size=1m")?;
    lab.arranged()?;
    let mut run = lab.run(["sleep", "1000"]).with(volume(&plain, "/data:ro")).start()?;
    let table = run.container()?.mounts()?;
    let options = table.iter().find(|mount| mount.point == "/data").map(|mount| mount.options.as_str());
    let gained =
        ["nosuid", "nodev", "noexec"].map(|one| options.is_some_and(|all| all.split(',').any(|o| o == one)));
    run.same(&format!("nosuid, nodev, noexec in {options:?}, none on the host:"), [false; 3], gained)?;
    run.kill_command().map(drop)
}
