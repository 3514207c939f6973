//! What is not ours: things that look like a killed run's, or stand where one left something. All of it stays, with
//! its contents and modes, whatever is done to have root delete it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::chapter::Chapter::{Lifecycle, Overlay};
use crate::checks::check::Check;
use crate::checks::overlay::leftovers::fill_with_foreign;
use crate::machine::mounts::{bind, tmpfs};
use crate::machine::snapshot::Snapshot;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "foreign-names",
        Overlay,
        "A directory in containers/ whose name or mode is a little different from a workspace's stays.",
        names,
    ),
    Check::new(
        "foreign-in-workspace",
        Overlay,
        "What somebody puts into a workspace, or in the place of its parts, never leads to anything outside.",
        in_workspace,
    ),
    Check::new(
        "foreign-mounts",
        Overlay,
        "What somebody mounts on containers, or on a workspace in it, stays.",
        mounts_on,
    ),
    Check::new(
        "foreign-mount-on-record",
        Lifecycle,
        "What somebody mounts on a container's record stays, and the container is there again without it.",
        on_record,
    ),
    Check::new(
        "foreign-state-paths",
        Overlay,
        "However the state directory is written, by a relative path or through a link, what else is there stays.",
        state_paths,
    ),
    Check::new(
        "foreign-layouts",
        Overlay,
        "A state directory that is somebody's home, or laid out like Docker's or Podman's, keeps all that it has.",
        layouts,
    ),
    Check::new(
        "foreign-swapped",
        Overlay,
        "A state directory, or its containers, swapped for another between two runs keeps all that it has.",
        swapped,
    ),
    Check::new(
        "leftover-odd-files",
        Overlay,
        "Whatever a killed run's container made goes: odd names, modes, devices, links; and not what they lead to.",
        odd_files,
    ),
];

/// Makes a file, and the directories above it.
fn file(path: &Path) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
    fs::write(path, "years of work\n").with_context(|| format!("writing {}", path.display()))
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("chmod {}", path.display()))
}

/// All that is in a directory, each with all that is in it, but for the one where records are made. Its own times may
/// change.
fn each_in(directory: &Path) -> Result<Vec<Snapshot>> {
    let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.iter().filter(|path| !path.ends_with(".unfinished")).map(|path| Snapshot::of(path)).collect()
}

fn still(before: &[Snapshot], did: &str) -> Result<()> {
    before.iter().try_for_each(|snapshot| snapshot.still(did))
}

/// The workspace of a run that was killed, and all of its container.
fn leftover(lab: &Lab, script: &str) -> Result<PathBuf> {
    let mut run = lab.sh(&format!("{script} echo ready; exec sleep 1000")).start()?;
    run.wrote("ready")?;
    let workspace = lab.workspace(&mut run)?;
    run.kill_whole()?;
    run.finish()?;
    see::same("killing run", "processes left", 0, lab.mark().gone(SOON).len())?;
    Ok(workspace)
}

/// A state directory of root's alone.
fn private(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path)?;
    mode(&path, 0o700)?;
    Ok(path)
}

fn names(lab: &Lab) -> Result<()> {
    private(lab.state())?;
    let containers = lab.place_of_containers();
    let id = b"0123456789ab";
    let mut names: Vec<OsString> = Vec::new();
    for position in 0..=id.len() {
        for byte in *b"gAF-. \n\x01\x7f\xff:" {
            let mut longer = id.to_vec();
            longer.insert(position, byte);
            names.push(OsString::from_vec(longer));
            let mut other = id.to_vec();
            if let Some(place) = other.get_mut(position) {
                *place = byte;
                names.push(OsString::from_vec(other));
            }
        }
        names.push(OsStr::from_bytes(&id[..position]).to_owned());
    }
    names.retain(|name| !name.is_empty() && name.as_bytes() != id);
    names.sort();
    names.dedup();
    for name in &names {
        file(&containers.join(name).join("upper/thesis.tex"))?;
        mode(&containers.join(name), 0o700)?;
    }
    // With an id for a name, but open to somebody.
    for open in 1..0o100 {
        let path = containers.join(format!("{open:012x}"));
        file(&path.join("upper/thesis.tex"))?;
        mode(&path, 0o700 | open)?;
    }
    let before = each_in(&containers)?;
    lab.runtime_was_killed(); // containers/ holds what we put there
    for _ in 0..3 {
        let outcome = lab.run(["true"]).finish()?;
        outcome.succeeds()?;
        still(&before, &outcome.line)?;
    }
    println!("{:?}: {} names and modes", lab.chapter(), before.len());
    Ok(())
}

/// Puts something into a workspace. The second is a directory of the host's.
type Trick = fn(&Path, &Path) -> Result<()>;

/// Replaces what is at `path` by a link.
fn replace(path: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
    symlink(to, path).with_context(|| format!("linking {}", path.display()))
}

const TRICKS: [(&str, Trick); 14] = [
    ("a file beside", |workspace, _| file(&workspace.join("thesis.tex"))),
    ("a directory beside", |workspace, _| file(&workspace.join("thesis/thesis.tex"))),
    ("a hidden file", |workspace, _| file(&workspace.join(".thesis"))),
    ("a link beside", |workspace, precious| replace(&workspace.join("thesis"), precious)),
    ("upper is a link", |workspace, precious| replace(&workspace.join("upper"), precious)),
    ("work is a link", |workspace, precious| replace(&workspace.join("work"), precious)),
    ("merged is a link", |workspace, precious| replace(&workspace.join("merged"), precious)),
    ("the note is a link to a directory", |workspace, precious| {
        replace(&workspace.join("pid_namespace"), precious)
    }),
    ("the note is a directory", |workspace, _| {
        let note = workspace.join("pid_namespace");
        let _ = fs::remove_file(&note);
        file(&note.join("file"))
    }),
    ("something in merged", |workspace, _| file(&workspace.join("merged/thesis.tex"))),
    ("a link in upper", |workspace, precious| replace(&workspace.join("upper/out"), precious)),
    ("a link up in upper", |workspace, _| replace(&workspace.join("upper/up"), Path::new("../../../.."))),
    ("a directory in upper is a link", |workspace, precious| {
        fs::create_dir_all(workspace.join("upper/deep"))?;
        replace(&workspace.join("upper/deep/er"), precious)
    }),
    ("upper is a hard link", |workspace, precious| {
        fs::remove_dir_all(workspace.join("upper"))?;
        Ok(fs::hard_link(precious.join("thesis.tex"), workspace.join("upper"))?)
    }),
];

fn in_workspace(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let precious = lab.folder("precious")?;
    for place in ["thesis.tex", "upper/thesis.tex", "work/work/thesis.tex", "deep/er/thesis.tex"] {
        file(&precious.join(place))?;
    }
    for directory in ["", "upper", "work"] {
        mode(&precious.join(directory), 0o700)?;
    }
    let before = Snapshot::of(&precious)?;
    lab.image()?;
    let beside = |workspace: &Path| {
        let kept = ["thesis.tex", "thesis/thesis.tex", ".thesis", "merged/thesis.tex"]
            .map(|one| workspace.join(one));
        kept.into_iter()
            .filter(|path| path.symlink_metadata().is_ok_and(|data| data.is_file()))
            .collect::<Vec<_>>()
    };
    let check = |did: &str, workspace: &Path, foreign: &[PathBuf]| -> Result<()> {
        // On its way out, a whole record may have got no further than there.
        let moved =
            lab.place_of_containers().join(".unfinished").join(workspace.file_name().unwrap_or_default());
        let is_there = |path: &PathBuf| {
            path.exists() || path.strip_prefix(workspace).is_ok_and(|rest| moved.join(rest).exists())
        };
        let gone: Vec<_> = foreign.iter().filter(|path| !is_there(path)).collect();
        see::same(did, "of what is not ours, gone", Vec::new(), gone)?;
        for left in [workspace, &moved] {
            fs::remove_dir_all(left).or_else(|error| if left.exists() { Err(error) } else { Ok(()) })?;
        }
        before.still(did)
    };
    for (name, trick) in TRICKS {
        // Found by the next run.
        let workspace = leftover(lab, "touch /tmp/file;")?;
        trick(&workspace, &precious)?;
        let foreign = beside(&workspace);
        let outcome = lab.run(["true"]).finish()?;
        outcome.exits(0)?;
        check(&format!("{} after a killed run, with {name}", outcome.line), &workspace, &foreign)?;
        // And found by the run itself when its container has ended.
        let mut run = lab.sh("touch /tmp/file; echo ready; exec sleep 1000").start()?;
        run.wrote("ready")?;
        let workspace = lab.workspace(&mut run)?;
        trick(&workspace, &precious)?;
        let foreign = beside(&workspace);
        let outcome = run.kill_command()?;
        see::same(&outcome.line, "run to end by itself:", true, outcome.status.code().is_some())?;
        check(&format!("{}, with {name}", outcome.line), &workspace, &foreign)?;
    }
    println!("{:?}: {} tricks, at the end and after a kill", lab.chapter(), TRICKS.len());
    Ok(())
}

fn mounts_on(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    // It looks like a workspace, and has data where one has files to be deleted.
    let precious = private(lab.path("precious"))?;
    for part in ["upper", "work", "pid"] {
        file(&precious.join(part).join("deep/thesis.tex"))?;
    }
    for part in ["merged", "empty"] {
        fs::create_dir(precious.join(part))?;
    }
    let before = Snapshot::of(&precious)?;
    let containers = lab.place_of_containers();
    // On a killed run's workspace, twice even; and on a directory that has but the name.
    for times in [1, 2] {
        for point in [leftover(lab, "touch /tmp/file;")?, containers.join("0123456789ab")] {
            private(point.clone())?;
            (0..times).try_for_each(|_| bind(&precious, &point))?;
            lab.arranged()?;
            let outcome = lab.run(["true"]).finish()?;
            let did = format!("{} with a mount on {}", outcome.line, point.display());
            outcome.exits(0)?;
            before.still(&did)?;
            lab.host_unchanged(&did)?;
            (0..times).try_for_each(|_| umount2(&point, MntFlags::MNT_DETACH))?;
            lab.arranged()?;
        }
    }
    // On the workspace of a living one, which ends.
    let mut run = lab.sh("touch /tmp/file; echo ready; exec sleep 1000").start()?;
    run.wrote("ready")?;
    let point = lab.workspace(&mut run)?;
    bind(&precious, &point)?;
    lab.arranged()?;
    let outcome = run.kill_command()?;
    let did = format!("{} with a mount on {}", outcome.line, point.display());
    before.still(&did)?;
    lab.host_unchanged(&did)?;
    umount2(&point, MntFlags::MNT_DETACH)?;
    lab.arranged()?;
    if lab.has(Lifecycle) {
        fs::remove_dir(containers.join("0123456789ab"))?; // a record without facts goes by rm -f only
    }
    lab.run(["true"]).finish()?.succeeds()?;
    see::same(&did, "in containers/, when nothing is mounted any more,", Vec::new(), lab.containers())?;
    // On the directory of all of them: another disk, say. Runs work there, and leave what was on it.
    for kind in ["bind", "tmpfs"] {
        let other = lab.folder(&format!("other-{kind}"))?;
        fill_with_foreign(&other, &lab.path(&format!("outside-{kind}")))?;
        if kind == "bind" {
            bind(&other, &containers)?;
        } else {
            tmpfs(&containers, MsFlags::empty(), "size=16m,mode=700")?;
            file(&containers.join("my-project/thesis.tex"))?;
        }
        lab.arranged()?;
        let there = each_in(&containers)?;
        let outcome = lab.sh("touch /tmp/file && echo ran").finish()?;
        outcome.succeeds()?.prints("ran\n")?;
        still(&there, &outcome.line)?;
        lab.host_unchanged(&outcome.line)?;
        umount2(&containers, MntFlags::MNT_DETACH)?;
        lab.arranged()?;
    }
    Ok(())
}

fn on_record(lab: &Lab) -> Result<()> {
    let other = lab.kept(["sleep", "1000"]).detach()?;
    let one = lab.kept(["sh", "-c", "echo line; exec sleep 1000"]).with(["--name", "one"]).detach()?;
    one.wrote("line\n")?;
    let (process, record) = (one.process()?, lab.place_of_containers().join(one.id()));
    // Somebody's data, in files of the same names.
    let precious = private(lab.path("precious"))?;
    for entry in fs::read_dir(&record)? {
        file(&precious.join(entry?.file_name()))?;
    }
    let before = Snapshot::of(&precious)?;
    bind(&precious, &record)?;
    lab.arranged()?;
    for (verb, words) in [
        ("exec", vec!["one", "true"]),
        ("kill", vec!["one"]),
        ("logs", vec!["one"]),
        ("rename", vec!["one", "two"]),
        ("start", vec!["one"]),
        ("stop", vec!["-t", "0", "one"]),
        ("wait", vec!["one"]),
        ("cp", vec!["one:/etc/passwd", "-"]),
        ("rm", vec!["-f", "one"]),
        ("rm", vec!["-f", one.id()]),
    ] {
        let outcome = lab.call(verb, words).finish()?;
        outcome.refuses(&[1, 125, 126])?.mentions("mounted")?;
        before.still(&outcome.line)?;
    }
    let listed = lab.call("ps", ["-a", "-q"]).finish()?;
    listed.exits(1)?.prints(format!("{}\n", other.id()))?.mentions("mounted")?;
    let next = lab.run(["true"]).finish()?;
    next.exits(0)?;
    see::same(&next.line, "the container to live on:", true, process.lives())?;
    process.signal(Signal::SIGKILL);
    wait_for(SOON, || Ok((!process.lives()).then_some(())))?;
    lab.says("stop", ["-t", "0", other.id()], &format!("{}\n", other.id())).or_else(|_| other.exits(137))?;
    before.still("the end of the container")?;
    umount2(&record, MntFlags::MNT_DETACH)?;
    lab.arranged()?;
    one.exits(137)?;
    one.logs()?.prints("line\n")?;
    one.remove()?;
    other.remove()
}

fn state_paths(lab: &Lab) -> Result<()> {
    let state = private(lab.state())?;
    fill_with_foreign(&lab.place_of_containers(), &lab.path("outside"))?;
    for name in ["thesis.tex", "my-project/thesis.tex", "0123456789ab/thesis.tex"] {
        file(&state.join(name))?;
    }
    mode(&state.join("0123456789ab"), 0o700)?;
    symlink("state", lab.path("to-state"))?;
    symlink(lab.path("to-state"), lab.path("to-link"))?;
    lab.runtime_was_killed();
    lab.run(["true"]).finish()?.succeeds()?; // makes images/
    let outside = Snapshot::of(&lab.path("outside"))?;
    let mut before = each_in(&lab.place_of_containers())?;
    for name in ["thesis.tex", "my-project", "0123456789ab", "images"] {
        before.push(Snapshot::of(&state.join(name))?);
    }
    let parent = state.parent().context("the state directory has a parent")?;
    let deep = state.join("my-project");
    let absolute = |rest: &str| PathBuf::from(format!("{}{rest}", state.display()));
    for (here, path) in [
        (state.as_path(), PathBuf::from(".")),
        (&state, "./".into()),
        (&state, "./.".into()),
        (&state, "../state".into()),
        (&state, "my-project/..".into()),
        (parent, "state".into()),
        (parent, "./state/".into()),
        (parent, "to-state".into()),
        (parent, "to-link/".into()),
        (&deep, "..".into()),
        (&deep, "../".into()),
        (parent, absolute("/")),
        (parent, absolute("//")),
        (parent, absolute("/.")),
        (parent, lab.place_of_containers().join("..")),
        (parent, absolute("/../state/./")),
        (parent, lab.path("to-link")),
    ] {
        for _ in 0..2 {
            let outcome = lab.sh("touch /tmp/file && echo ran").state(&path).inside(here).finish()?;
            outcome.succeeds()?.prints("ran\n")?;
            still(&before, &outcome.line)?;
            outside.still(&outcome.line)?;
        }
    }
    Ok(())
}

fn layouts(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let id = "4f1c".repeat(16);
    let home = [
        ".bashrc",
        "thesis.tex",
        "containers/notes.txt",
        "images/holiday.jpg",
        ".local/share/containers/x/y",
    ];
    let docker = [
        format!("containers/{id}/config.v2.json"),
        format!("containers/{id}/{id}-json.log"),
        format!("containers/{id}/mounts/shm/file"),
        format!("image/overlay2/imagedb/content/sha256/{id}"),
        format!("overlay2/{id}/diff/etc/passwd"),
        format!("overlay2/{id}/work/work/file"),
        format!("overlay2/{id}/merged/file"),
        "overlay2/l/ABCDEFGHIJKLMNOPQRSTUVWXYZ/file".to_string(),
        "volumes/my-data/_data/thesis.tex".to_string(),
        format!("containers/{}/upper/thesis.tex", &id[..12]),
    ];
    let podman = [
        format!("overlay-containers/{id}/userdata/config.json"),
        format!("overlay/{id}/diff/file"),
        "overlay-images/images.json".to_string(),
        "containers/storage/overlay/file".to_string(),
        "images/busybox.tar.gz".to_string(),
    ];
    let checkout = [".git/HEAD", "src/main.rs", "containers/mod.rs", "containers/deadbeef/mod.rs"];
    let named: [(&str, Vec<String>); 4] = [
        ("home", home.map(String::from).to_vec()),
        ("docker", docker.to_vec()),
        ("podman", podman.to_vec()),
        ("checkout", checkout.map(String::from).to_vec()),
    ];
    for (name, files) in named {
        for own in [0o755, 0o711, 0o700] {
            let state = lab.folder(&format!("{name}-{own:o}"))?;
            files.iter().try_for_each(|path| file(&state.join(path)))?;
            mode(&state, own)?;
            let before: Vec<_> =
                files.iter().map(|path| Snapshot::of(&state.join(path))).collect::<Result<_>>()?;
            for _ in 0..2 {
                let outcome = lab.sh("touch /tmp/file && echo ran").state(&state).finish()?;
                outcome.succeeds()?.prints("ran\n")?;
                still(&before, &outcome.line)?;
                let now = format!("{:o}", fs::metadata(&state)?.permissions().mode() & 0o7777);
                see::same(&outcome.line, "the directory's mode", format!("{own:o}"), now)?;
            }
        }
    }
    Ok(())
}

fn swapped(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let other = private(lab.path("other"))?;
    let containers = lab.place_of_containers();
    let name = containers.file_name().context("it has a name")?;
    fill_with_foreign(&other.join(name), &lab.path("outside"))?;
    let left = leftover(lab, "touch /tmp/file;")?;
    let id = left.file_name().context("a workspace has a name")?.to_owned();
    // What has this very id there is not a killed run's: it is open to others.
    file(&other.join(name).join(&id).join("upper/thesis.tex"))?;
    mode(&other.join(name).join(&id), 0o755)?;
    let mut before = each_in(&other.join(name))?;
    before.push(Snapshot::of(&lab.path("outside"))?);
    let whole = lab.path("first");
    let tried = || {
        let outcome = lab.sh("touch /tmp/file && echo ran").finish()?;
        outcome.succeeds()?.prints("ran\n")?;
        still(&before, &outcome.line)
    };
    // The state directory, and then only the one with the workspaces in it.
    fs::rename(lab.state(), &whole)?;
    symlink(&other, lab.state())?;
    tried()?;
    fs::remove_file(lab.state())?;
    fs::rename(&whole, lab.state())?;
    fs::rename(&containers, lab.path("moved"))?;
    symlink(other.join(name), &containers)?;
    tried()?;
    fs::remove_file(&containers)?;
    fs::rename(lab.path("moved"), &containers)?;
    tried()?;
    see::same("run after one that was killed", "its workspace:", false, left.exists())
}

fn odd_files(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let precious = lab.folder("precious")?;
    file(&precious.join("deep/thesis.tex"))?;
    let before = Snapshot::of(&precious)?;
    // What a container can make by itself.
    let script = "mkdir -p /a/b /c && touch /a/b/file && chmod 0 /a/b /a && mkfifo /fifo && rm -r /etc && mkdir /etc &&
        mknod /null c 1 3 && mknod /disk b 7 0 && ln -s / /root-link && ln -s ../../../../.. /up && mv /bin/cat '/new
line' && cp /bin/busybox /setuid && chmod 6755 /setuid && chmod 1777 /c;";
    for ends in [true, false] {
        let mut run = lab.sh(&format!("{script} echo ready; exec sleep 1000")).start()?;
        run.wrote("ready")?;
        let workspace = lab.workspace(&mut run)?;
        // And what the shell of an image is not up to.
        let upper = workspace.join("upper");
        let odd = [
            vec![b'x'; 255],
            b"\xff\xfe".to_vec(),
            b"\n".to_vec(),
            b" ".to_vec(),
            b"-rf".to_vec(),
            b"*".to_vec(),
        ];
        for name in odd {
            let directory = upper.join(OsString::from_vec(name.clone()));
            file(&directory.join(OsString::from_vec(name)))?;
            mode(&directory, 0)?;
        }
        symlink(&precious, upper.join("out"))?;
        symlink("out", upper.join("out-again"))?;
        symlink(".", upper.join("loop"))?;
        fs::create_dir(upper.join("links"))?;
        File::create(upper.join("links/0"))?;
        (1..500).try_for_each(|n| fs::hard_link(upper.join("links/0"), upper.join(format!("links/{n}"))))?;
        drop(
            UnixListener::bind(upper.join("links/socket"))
                .or_else(|_| UnixListener::bind(lab.path("socket")))?,
        );
        mknod(&upper.join("links/whiteout"), SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?;
        let outcome = if ends {
            run.kill_command()?
        } else {
            run.kill_whole()?;
            run.finish()?;
            see::same("killing run", "processes left", 0, lab.mark().gone(SOON).len())?;
            lab.run(["true"]).finish()?
        };
        outcome.exits(if ends { 137 } else { 0 })?.complains("")?;
        let gone = wait_for(SOON, || Ok((!workspace.exists()).then_some(())))?.is_some();
        see::same(&outcome.line, "the workspace to be gone:", true, gone)?;
        before.still(&outcome.line)?;
    }
    Ok(())
}
