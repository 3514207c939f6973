//! Whose things are in `containers/`: those of killed runs go, whatever is in them, and nothing else is touched.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::chapter::Chapter::Overlay;
use crate::checks::check::Check;
use crate::machine::lock::NOBODY;
use crate::machine::mounts::bind;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, SOON, cannot_run, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "state-foreign",
        Overlay,
        "Only what is provably of a killed run is taken away: all else in containers/ stays, whatever it is called.",
        foreign,
    ),
    Check::new(
        "workspace-deep",
        Overlay,
        "The workspace is gone however deep the container's directories are, with few descriptors to be had.",
        deep,
    ),
    Check::new(
        "workspace-many-leftovers",
        Overlay,
        "Of seventy killed runs the next ones take away what is left, with 64 descriptors to be had.",
        many,
    ),
    Check::new(
        "workspace-mounts",
        Overlay,
        "What somebody mounts or links in a workspace keeps all that it has, and a mount in the way is told.",
        mounts,
    ),
    Check::new(
        "workspace-outlived",
        Overlay,
        "The files of a container that outlives its run stay under it, and the next run says so.",
        outlived,
    ),
];

/// A directory with a file in each of the places where a workspace has some.
fn like_a_workspace(path: &Path, mode: u32) -> Result<()> {
    for part in ["upper", "work", "merged", "merged/deep"] {
        fs::create_dir_all(path.join(part)).with_context(|| format!("making {}", path.display()))?;
        fs::write(path.join(part).join("thesis.tex"), "years of work\n")?;
    }
    fs::write(path.join("thesis.tex"), "years of work\n")?;
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

/// Fills a directory with what is not of any run: kinds, names, modes and owners that a workspace does not have.
pub(crate) fn fill_with_foreign(containers: &Path, outside: &Path) -> Result<()> {
    fs::create_dir_all(containers)?;
    let odd = [
        "my-project",
        "0123456789AB",
        "0123456789a",
        "0123456789abc",
        "0123456789a ",
        "01234567\n9ab",
        "x",
        "...",
    ];
    for name in odd {
        like_a_workspace(&containers.join(name), 0o700)?;
    }
    // An id for a name, and yet not ours: open to others, or theirs.
    for (name, mode) in [("100000000000", 0o755), ("200000000000", 0o750), ("300000000000", 0o701)] {
        like_a_workspace(&containers.join(name), mode)?;
    }
    like_a_workspace(&containers.join("400000000000"), 0o700)?;
    chown(containers.join("400000000000"), Some(NOBODY), Some(NOBODY))?;
    like_a_workspace(outside, 0o700)?;
    for (name, to) in [
        ("500000000000", outside.to_path_buf()),
        ("500000000001", outside.join("thesis.tex")),
        ("500000000002", PathBuf::from("nowhere")),
        ("500000000003", PathBuf::from(".")),
        ("500000000004", PathBuf::from("my-project")),
        ("500000000005", PathBuf::from("500000000005")),
    ] {
        symlink(to, containers.join(name))?;
    }
    for (name, mode) in [("600000000000", 0o644), ("600000000001", 0o600), ("notes", 0o600)] {
        fs::write(containers.join(name), "years of work\n")?;
        fs::set_permissions(containers.join(name), Permissions::from_mode(mode))?;
    }
    // Opening it would wait for ever.
    Ok(mknod(&containers.join("700000000000"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)?)
}

fn foreign(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let containers = lab.state().join("containers");
    fs::create_dir(lab.state())?;
    fs::set_permissions(lab.state(), Permissions::from_mode(0o700))?;
    fill_with_foreign(&containers, &lab.path("outside"))?;
    let names: Vec<_> = fs::read_dir(&containers)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let before = names.iter().map(|path| Snapshot::of(path)).collect::<Result<Vec<_>>>()?;
    let outside = Snapshot::of(&lab.path("outside"))?;
    let still = |did: &str| before.iter().chain([&outside]).try_for_each(|snapshot| snapshot.still(did));

    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    still(&outcome.line)?;
    // And beside something that is to go.
    let mut killed = lab.run(["sleep", "1000"]).start()?;
    let left = lab.workspace(&mut killed)?;
    let container = killed.container()?;
    killed.kill_whole()?;
    killed.finish()?;
    wait_for(SOON, || Ok((!container.lives()).then_some(())))?;
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    still(&outcome.line)?;
    see::same(&outcome.line, "the workspace of a killed run:", false, left.exists())
}

fn deep(lab: &Lab) -> Result<()> {
    // A hundred directories at a time.
    let script = format!(
        "for i in 0 1 2 3 4 5 6 7 8 9 a; do mkdir -p {0} && cd {0} || exit 3; done; touch file && pwd -P | wc -c",
        "d/".repeat(100)
    );
    for descriptors in [1024, 64] {
        let few = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, descriptors, descriptors)?);
        let outcome = lab.sh(&script).prepared(few).finish()?;
        outcome.succeeds()?.prints("2201\n")?;
        see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())?;
    }
    Ok(())
}

fn many(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    lab.image()?;
    // All of them alive before the first one is killed: each takes away what is left when it begins.
    let mut runs = (0..70).map(|_| lab.run(["sleep", "1000"]).start()).collect::<Result<Vec<_>>>()?;
    runs.iter_mut().try_for_each(|run| run.container().map(drop))?;
    runs.iter_mut().try_for_each(|run| run.kill_whole())?;
    runs.into_iter().try_for_each(|run| run.finish().map(drop))?;
    see::same("killing seventy runs", "processes left", 0, lab.mark().gone(SOON).len())?;
    let few = || Ok(setrlimit(Resource::RLIMIT_NOFILE, 64, 64)?);
    // A run need not take all of them: nobody should wait long for others' remains.
    for _ in 0..10 {
        lab.sh("echo ran").prepared(few).finish()?.succeeds()?.prints("ran\n")?;
    }
    see::same("ten runs after seventy that were killed", "in containers/", Vec::new(), lab.containers())
}

/// Somebody's data, in the places where overlayfs has its own.
fn precious(lab: &Lab) -> Result<PathBuf> {
    let precious = lab.folder("precious")?;
    for own in ["", "volatile", "incompat/volatile", "work/incompat/volatile"] {
        fs::create_dir_all(precious.join(own))?;
        for name in ["dirty", "thesis.tex"] {
            fs::write(precious.join(own).join(name), "years of work\n")?;
        }
    }
    Ok(precious)
}

fn mounts(lab: &Lab) -> Result<()> {
    lab.image()?;
    let precious = precious(lab)?;
    let before = Snapshot::of(&precious)?;
    let start = || -> Result<_> {
        let mut run =
            lab.sh("mkdir -p /deep/er && touch /deep/file && echo ready && exec sleep 1000").start()?;
        run.wrote("ready")?;
        let workspace = lab.workspace(&mut run)?;
        Ok((run, workspace))
    };
    for (place, source) in [
        ("upper", ""),
        ("upper/deep", ""),
        ("upper/deep/er", ""),
        ("upper/deep/file", "thesis.tex"),
        ("merged", ""),
        ("work", ""),
        ("work", "work"),
        ("work/work", "work"),
        ("work/work", "incompat"),
        ("work/work/incompat", "incompat"),
        ("work/work/incompat/volatile", "volatile"),
    ] {
        let (run, workspace) = start()?;
        let point = workspace.join(place);
        if point.exists() {
            bind(&precious.join(source), &point)?;
            lab.arranged()?;
            let outcome = run.kill_command()?;
            let did = format!("{} with a mount on {}", outcome.line, point.display());
            before.still(&did)?;
            lab.host_unchanged(&did)?;
            outcome.exits(125).with_context(|| format!("with a mount on {}", point.display()))?;
            if place != "merged" {
                outcome.mentions("mounted")?;
            }
            umount2(&point, MntFlags::MNT_DETACH)?;
            lab.arranged()?;
        }
    }
    for (place, to) in
        [("work", ""), ("work", "work"), ("work/work", "work"), ("work/work/incompat", "incompat")]
    {
        let (run, workspace) = start()?;
        let place = workspace.join(place);
        if place.exists() {
            fs::rename(&place, lab.path("moved"))?;
            symlink(precious.join(to), &place)?;
            let outcome = run.kill_command()?;
            before.still(&format!("{} with a link at {}", outcome.line, place.display()))?;
            fs::remove_dir_all(lab.path("moved"))?;
        }
    }
    lab.next_run_sweeps()
}

/// Becomes another user in another root, and so forgets that it is to die with `run`.
const OUTLIVES: &str = "
    mkdir -p /jail/bin /jail/etc && cp /bin/busybox /jail/bin/ && ln -s busybox /jail/bin/sh &&
    echo nobody:x:65534:65534::/:/bin/sh > /jail/etc/passwd && echo nobody:x:65534: > /jail/etc/group &&
    exec chroot /jail /bin/busybox su -s /bin/sh nobody -c 'echo ready; exec /bin/busybox sleep 1000'";

fn outlived(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let mut run = lab.sh(OUTLIVES).start()?;
    if run.wrote("ready").is_err() && run.ended()?.is_some() {
        return Err(cannot_run("this busybox has no chroot or no su that works"));
    }
    let container = run.container()?;
    let id = run.id()?;
    let workspace = lab.workspace(&mut run)?;
    run.kill_whole()?;
    run.finish()?;
    // A runtime may have means to end it all the same; it needs a moment to die.
    let died = wait_for(std::time::Duration::from_secs(1), || Ok((!container.lives()).then_some(())))?;
    if died.is_none() {
        let before = Snapshot::of(&workspace.join("upper"))?;
        let outcome = lab.run(["true"]).finish()?;
        outcome.exits(0)?;
        // Unless that one has ended it, by the cgroup that it was in.
        if container.lives() {
            before.still(&format!("{} (while the container of a killed run lives)", outcome.line))?;
            outcome.mentions(&id)?;
        }
        container.signal(Signal::SIGKILL);
        wait_for(SOON, || Ok((!container.lives()).then_some(())))?;
    }
    let outcome = lab.run(["true"]).finish()?;
    outcome.succeeds()?;
    see::same(&outcome.line, "the workspace, when all of the container is dead:", false, workspace.exists())
}
