//! The state directory, and who else could have a hand in there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

use crate::chapter::Chapter::{Overlay, PivotRoot};
use crate::checks::check::Check;
use crate::machine::lock::{NOBODY, TheirLock};
use crate::machine::snapshot::Snapshot;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "state-private",
        PivotRoot,
        "The state directory that run makes is closed to all but root, whatever the umask.",
        private,
    ),
    Check::new(
        "state-of-others",
        PivotRoot,
        "A state directory that others than root can change, or what leads to it, is refused, and nothing is touched.",
        of_others,
    ),
    Check::new(
        "state-locks-of-others",
        PivotRoot,
        "Locks that an ordinary user takes in a state directory that all may read make no run wait.",
        locks_of_others,
    ),
    Check::new(
        "proc-missing",
        PivotRoot,
        "Where /proc is not mounted, run works or is refused in one line, and leaves nothing.",
        proc_missing,
    )
    .without_container(),
];

/// A new directory of root's, of exactly this mode.
fn directory(path: PathBuf, mode: u32) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(mode))?;
    Ok(path)
}

/// The same, of an ordinary user's.
fn theirs(path: PathBuf) -> Result<PathBuf> {
    let path = directory(path, 0o755)?;
    chown(&path, Some(NOBODY), Some(NOBODY))?;
    Ok(path)
}

/// A link that an ordinary user made.
fn their_link(path: PathBuf, to: &Path) -> Result<PathBuf> {
    symlink(to, &path).with_context(|| format!("linking {}", path.display()))?;
    lchown(&path, Some(NOBODY), Some(NOBODY))?;
    Ok(path)
}

fn private(lab: &Lab) -> Result<()> {
    for mask in [0o000, 0o022, 0o077] {
        let state = lab.path(&format!("above-{mask:o}/state"));
        let narrow = move || {
            umask(Mode::from_bits_truncate(mask));
            Ok(())
        };
        let outcome = lab.run(["true"]).state(&state).prepared(narrow).finish()?;
        outcome.succeeds()?;
        let data = fs::metadata(&state).with_context(|| format!("looking at {}", state.display()))?;
        let seen = (data.uid(), format!("{:o}", data.mode() & 0o7777));
        see::same(&outcome.line, "$BYHAND_ROOT root's, with mode", (0, "700".to_string()), seen)?;
    }
    Ok(())
}

fn of_others(lab: &Lab) -> Result<()> {
    // What somebody would like root to delete for them.
    let victim = directory(lab.path("victim"), 0o755)?;
    for name in ["0123456789ab", "thesis"] {
        for part in ["upper", "work", "merged"] {
            let deep = directory(victim.join(name).join(part), 0o700)?;
            fs::write(deep.join("file"), "the host's\n")?;
        }
        fs::set_permissions(victim.join(name), Permissions::from_mode(0o700))?;
    }
    // As /tmp is: everybody may make what they like.
    let open = directory(lab.path("open"), 0o1777)?;
    let good = directory(lab.path("good"), 0o755)?;
    let writable = directory(open.join("writable-above"), 0o777)?;
    let group = directory(open.join("group"), 0o775)?;
    chown(&group, None, Some(NOBODY))?;
    let states = [
        theirs(open.join("theirs"))?,
        theirs(open.join("theirs-above"))?.join("missing"),
        directory(theirs(open.join("theirs-above-too"))?.join("state"), 0o755)?,
        directory(open.join("writable"), 0o777)?,
        directory(open.join("sticky"), 0o1777)?,
        group,
        directory(writable.join("state"), 0o755)?,
        writable.join("missing"),
        their_link(open.join("link"), &good)?,
        their_link(open.join("link-to-nothing"), &open.join("nothing"))?,
        their_link(open.join("link-above"), lab.path("open").as_path())?.join("sub"),
        // A link of root's, and where it leads to is theirs.
        {
            symlink(open.join("theirs"), lab.path("to-theirs"))?;
            lab.path("to-theirs")
        },
        // One that leads to itself.
        {
            symlink("ring", lab.path("ring"))?;
            lab.path("ring")
        },
    ];
    for state in &states {
        if state.is_dir() && state.symlink_metadata()?.is_dir() {
            their_link(state.join("containers"), &victim)?;
        }
    }
    let before = [Snapshot::of(&victim)?, Snapshot::of(&open)?, Snapshot::of(&good)?];
    let called_by = |user: u32, state: &Path| {
        let (user, run) = (user.to_string(), lab.sh("echo ran").state(state));
        run.variable("SUDO_UID", &user).variable("SUDO_GID", &user)
    };
    for state in &states {
        // By root, and by somebody else yet who may become root.
        for user in [0, NOBODY - 1] {
            let outcome = called_by(user, state).finish()?;
            outcome.refuses(&[125])?;
            before.iter().try_for_each(|snapshot| snapshot.still(&outcome.line))?;
        }
    }
    // Who called sudo could have done as root what they did as themselves.
    for name in ["callers", "callers-group"] {
        let callers = directory(lab.path(name), 0o775)?;
        chown(&callers, (name == "callers").then_some(NOBODY), Some(NOBODY))?;
        called_by(NOBODY, &callers).finish()?.succeeds()?.prints("ran\n")?;
    }
    // What is root's alone works, with everybody's /tmp above it, and by a link of root's own.
    let own = directory(open.join("own"), 0o755)?;
    symlink(&own, lab.path("own-link"))?;
    symlink(&open, lab.path("open-link"))?;
    for state in [own, lab.path("own-link"), lab.path("open-link/own")] {
        lab.sh("echo ran").state(&state).finish()?.succeeds()?.prints("ran\n")?;
    }
    before[0].still("run with a state directory of root's")
}

fn locks_of_others(lab: &Lab) -> Result<()> {
    lab.runtime_was_killed();
    let state = directory(lab.state(), 0o755)?;
    let places = ["images", "containers"].map(|name| state.join(name));
    for place in &places {
        directory(place.clone(), 0o755)?;
    }
    let mut locks = TheirLock::on_all([&state, &places[0], &places[1]].map(PathBuf::as_path))?;
    let image = lab.image()?;
    locks.extend(TheirLock::on(&image)?);
    let run = || lab.sh("echo ran").finish()?.succeeds()?.prints("ran\n").map(drop);
    run()?;
    if !lab.has(Overlay) {
        return Ok(());
    }
    let mut killed = lab.run(["sleep", "1000"]).start()?;
    let container = killed.container()?;
    for workspace in lab.containers() {
        locks.extend(TheirLock::on(&workspace)?);
    }
    killed.kill_whole()?;
    killed.finish()?;
    wait_for(SOON, || Ok((!container.lives()).then_some(())))?;
    run()?;
    see::same("run after one that was killed", "in containers/", Vec::new(), lab.containers())
}

fn proc_missing(lab: &Lab) -> Result<()> {
    let without = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        Ok(umount2("/proc", MntFlags::MNT_DETACH)?)
    };
    let tried = || {
        let outcome = lab.sh("echo ran").prepared(without).finish()?;
        if outcome.status.success() {
            outcome.succeeds()?.prints("ran\n")?;
        } else {
            outcome.refuses(&[125])?.mentions("/proc")?;
        }
        see::same(&outcome.line, "in containers/", Vec::new(), lab.containers())
    };
    tried()?;
    // And with an image there.
    lab.run(["true"]).finish()?;
    tried()
}
