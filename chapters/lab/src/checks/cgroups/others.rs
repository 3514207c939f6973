//! Cgroups, and what others do to them: users without rights, the container itself, and whoever arranged the host.

use std::fs::{self, DirBuilder, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::MsFlags;
use nix::sys::resource::{Resource, setrlimit};

use super::containers::{idle, own_cgroup};
use crate::chapter::Chapter::Cgroups;
use crate::checks::check::Check;
use crate::machine::hierarchy::{self, Hierarchy};
use crate::machine::lock::TheirLock;
use crate::machine::mounts::{bind, tmpfs};
use crate::see::{self, cannot_run};
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "cgroup-locks-of-others",
        Cgroups,
        "Locks that an ordinary user takes in the cgroup tree make no run wait, and keep no killed run's cgroup.",
        locks_of_others,
    ),
    Check::new(
        "cgroup-deep",
        Cgroups,
        "The cgroup is gone however deep others are nested in it, with long names and few descriptors to be had.",
        deep,
    ),
    Check::new(
        "controller-covered",
        Cgroups,
        "A limit whose controller is covered by another mount is refused in one line, or set where it can still be seen.",
        covered,
    ),
];

const LIMIT: [&str; 2] = ["-m", "100m"];

/// Kills `run`, and waits until its container is dead.
fn kill(mut run: Running) -> Result<()> {
    let container = run.container()?;
    run.kill_whole()?;
    run.finish()?;
    see::wait_for(see::SOON, || Ok((!container.lives()).then_some(())))?;
    Ok(())
}

fn locks_of_others(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    lab.runtime_was_killed();
    let mut living = idle(lab, &LIMIT)?;
    let mut killed = idle(lab, &LIMIT)?;
    let left = hierarchy::of_container(killed.container()?)?;
    let (kept, its) = (own_cgroup(&mut living, &hierarchy)?, own_cgroup(&mut killed, &hierarchy)?);
    let parent = kept.parent().context("a cgroup has a parent")?;
    let _locks = TheirLock::on_all([hierarchy.point(), parent, &kept, &its])?;

    lab.run(["true"]).with(LIMIT).finish()?.succeeds()?;
    kill(killed)?;
    let outcome = lab.run(["true"]).with(LIMIT).finish()?;
    outcome.succeeds()?;
    hierarchy::all_gone(&outcome.line, &left)?;
    see::same(&outcome.line, "the cgroup of a running container:", true, kept.exists())?;
    living.kill_command().map(drop)
}

/// Cgroups, each in the one before it. Dropped, those that are left are removed.
///
/// Their paths can be longer than any that the kernel takes, and so each is reached through the one above it.
struct Nested(Vec<(File, String)>);

impl Nested {
    fn make(top: &Path, depth: usize, length: usize) -> Result<Nested> {
        let mut nested = Nested(Vec::new());
        let mut here = File::open(top).with_context(|| format!("opening {}", top.display()))?;
        for _ in 0..depth {
            let name = "n".repeat(length);
            let below = below(&here, &name);
            DirBuilder::new()
                .mode(0o755)
                .create(&below)
                .map_err(|error| cannot_run(format!("no cgroups can be nested {depth} deep: {error}")))?;
            let next = File::open(&below).context("opening a cgroup")?;
            nested.0.push((here, name));
            here = next;
        }
        Ok(nested)
    }
}

fn below(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)
}

impl Drop for Nested {
    fn drop(&mut self) {
        for (above, name) in self.0.iter().rev() {
            let _ = fs::remove_dir(below(above, name)); // it is gone already, if all went well
        }
    }
}

fn deep(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    lab.runtime_was_killed();
    for (depth, length, descriptors) in [(30, 200, 1024), (200, 8, 64)] {
        let few = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, descriptors, descriptors)?);
        // It ends by itself, or the next run finds what it left.
        for ends in [true, false] {
            let mut run = lab.run(["sleep", "1000"]).with(LIMIT).prepared(few).start()?;
            let (cgroups, _nested) = nest(&hierarchy, &mut run, depth, length)?;
            let outcome = if ends {
                let outcome = run.kill_command()?;
                outcome.exits(137)?.complains("")?;
                outcome
            } else {
                kill(run)?;
                let outcome = lab.run(["true"]).with(LIMIT).prepared(few).finish()?;
                outcome.succeeds()?;
                outcome
            };
            if !ends {
                // The run of another check may have come first, and be at it still.
                see::wait_for(see::SOON, || Ok((!cgroups.iter().any(|path| path.exists())).then_some(())))?;
            }
            let did = format!("{} (with {depth} cgroups, each in the last)", outcome.line);
            hierarchy::all_gone(&did, &cgroups)?;
        }
    }
    Ok(())
}

fn nest(
    hierarchy: &Hierarchy,
    run: &mut Running,
    depth: usize,
    length: usize,
) -> Result<(Vec<PathBuf>, Nested)> {
    let nested = Nested::make(&own_cgroup(run, hierarchy)?, depth, length)?;
    Ok((hierarchy::of_container(run.container()?)?, nested))
}

fn covered(lab: &Lab) -> Result<()> {
    let hierarchy = hierarchy::required("memory")?;
    let usual = Path::new("/sys/fs/cgroup");
    let place = if hierarchy.point().starts_with(usual) { usual } else { hierarchy.point() };
    // The same hierarchy at another place, where it stays in sight for a while.
    let elsewhere = lab.folder("elsewhere")?;
    bind(hierarchy.point(), &elsewhere)?;
    // Private: else, where mounts are shared, what covers the one covers the other too.
    let none = None::<&str>;
    nix::mount::mount(none, &elsewhere, none, MsFlags::MS_PRIVATE, none)?;
    tmpfs(place, MsFlags::empty(), "size=1m,mode=755")?;
    lab.arranged()?;
    let mut run = idle(lab, &LIMIT)?;
    let file = if hierarchy.v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let own = own_cgroup(&mut run, &hierarchy)?;
    let limit = elsewhere.join(own.strip_prefix(hierarchy.point())?).join(file);
    let set = fs::read_to_string(&limit).unwrap_or_default();
    run.same(&format!("in {}", limit.display()), "104857600", set.trim())?;
    run.kill_command()?.exits(137)?.complains("")?;

    tmpfs(&elsewhere, MsFlags::empty(), "size=1m,mode=755")?;
    lab.arranged()?;
    let outcome = lab.sh("echo ran").with(LIMIT).finish()?;
    outcome.refuses(&[125])?.mentions("memory")?;
    for place in [place, elsewhere.as_path()] {
        let made: Vec<_> = fs::read_dir(place)?.flatten().map(|entry| entry.path()).collect();
        see::same(&outcome.line, "files made where a tree of cgroups was:", Vec::new(), made)?;
    }
    Ok(())
}
