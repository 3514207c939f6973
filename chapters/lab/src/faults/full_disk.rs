//! A disk with no room left, below the state directory: what is printed gets lost, and nothing else does.

use std::fs;

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, umount2};
use serde_json::Value;

use crate::chapter::Chapter::{Images, Lifecycle};
use crate::checks::check::Check;
use crate::machine::mounts::tmpfs;
use crate::see::{self, SOON, wait_for};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "full-disk-end",
        Lifecycle,
        "A container that fills the disk with what it prints ends as it would have, and its status is told.",
        |lab| on_a_small_disk(lab, ends),
    ),
    Check::new(
        "full-disk-life",
        Lifecycle,
        "A container that fills the disk with what it prints goes on, and its log says what was lost.",
        |lab| on_a_small_disk(lab, goes_on),
    ),
    Check::new(
        "full-disk-others",
        Lifecycle,
        "On a full disk each command works or says in one line why not, and rm makes room again.",
        |lab| on_a_small_disk(lab, others),
    ),
];

/// More than there is room for, in lines. The image takes some two megabytes.
const FILL: &str = "yes a-line-that-needs-some-room-on-the-disk | head -c 8000000";

/// Works with a state directory that is a file system of its own, of this size.
pub(super) fn on_a_disk_of(lab: &Lab, size: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    fs::create_dir(lab.state())?;
    tmpfs(&lab.state(), MsFlags::empty(), &format!("size={size},mode=700"))?;
    lab.arranged()?;
    let worked = work();
    let left = lab.containers();
    umount2(&lab.state(), MntFlags::MNT_DETACH)?;
    lab.arranged()?;
    worked?;
    see::same("rm", "what is left:", Vec::new(), left)
}

fn on_a_small_disk(lab: &Lab, work: fn(&Lab) -> Result<()>) -> Result<()> {
    on_a_disk_of(lab, "6m", || {
        lab.run(["true"]).finish()?.succeeds()?;
        work(lab)
    })
}

/// What the log has of the lines that filled the disk: whole ones, and a part of one at most.
fn has_whole_lines(logs: &Outcome) -> Result<()> {
    let text = logs.output();
    let odd = text.lines().filter(|line| *line != "a-line-that-needs-some-room-on-the-disk").count();
    let many = text.lines().count() > 1000;
    if many && odd <= 1 {
        Ok(())
    } else {
        Err(logs.differs("more than a thousand of the lines, and one torn at most"))
    }
}

fn ends(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", &format!("{FILL}; exit 7")]).detach()?;
    lab.says("wait", [one.id()], "7\n")?;
    one.exits(7)?;
    has_whole_lines(&one.logs()?)?;
    // Where it has ended no new start changes that, unless the command runs again.
    let again = lab.call("start", [one.id()]).finish()?;
    if again.status.success() {
        lab.says("wait", [one.id()], "7\n")?;
    } else {
        again.refuses(&[1])?.mentions("(ENOSPC)")?;
    }
    one.exits(7)?;
    one.remove()
}

fn goes_on(lab: &Lab) -> Result<()> {
    let data = lab.folder("data")?;
    let script =
        format!("trap 'echo there-is-room' USR1; {FILL}; echo > /data/filled; while :; do sleep 0.02; done");
    let volume = format!("{}:/data", data.display());
    let one = lab.kept(["sh", "-c", &script]).with(["-v", &volume]).detach()?;
    let filled = || Ok(data.join("filled").exists().then_some(()));
    wait_for(SOON, filled)?
        .ok_or_else(|| one.differs("to have printed all", one.status().unwrap_or_default()))?;
    see::same(one.line(), "its state", "running".to_string(), one.state()?)?;
    has_whole_lines(&one.logs()?)?;
    fs::remove_dir_all(lab.state().join("images"))?;
    lab.says("kill", ["-s", "USR1", one.id()], &format!("{}\n", one.id()))?;
    one.wrote("there-is-room\n")?;
    let logs = one.logs()?;
    logs.mentions("lost")?.mentions("(ENOSPC)")?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    one.exits(137)?;
    one.remove()
}

/// All containers that `ps -a` shows.
fn ids(lab: &Lab) -> Result<Vec<String>> {
    let text = |one: &Value| one["ID"].as_str().unwrap_or_default().to_string();
    Ok(lab.listed()?.iter().map(text).collect())
}

fn others(lab: &Lab) -> Result<()> {
    let living = lab.kept(["sleep", "1000"]).with(["--name", "living"]).detach()?;
    let ended = lab.kept(["sh", "-c", "exit 7"]).with(["--name", "ended"]).detach()?;
    ended.exits(7)?;
    // To the last block.
    let _ = fs::write(lab.state().join("others-data"), vec![0; 6 << 20]);
    let known = [living.id().to_string(), ended.id().to_string()];
    let command: &[&str] = if lab.has(Images) { &["busybox", "true"] } else { &["true"] };
    for words in [
        [&["run"], command].concat(),
        [&["run", "-d"], command].concat(),
        [&["run", "--rm", "--name", "new"], command].concat(),
        vec!["exec", "living", "true"],
        vec!["rename", "ended", "other"],
        vec!["start", "ended"],
        vec!["start", "-a", "ended"],
        vec!["kill", "-s", "USR1", "living"],
        vec!["ps"],
        vec!["logs", "living"],
        vec!["inspect", "ended"],
        vec!["pause", "living"],
        vec!["unpause", "living"],
        vec!["stop", "-t", "0", "living"],
    ] {
        let outcome = lab.call(words[0], &words[1..]).finish()?;
        let refused = !outcome.status.success() && outcome.status.code() != Some(7);
        if refused {
            outcome.refuses(&[1, 125, 126])?.mentions("(ENOSPC)")?;
        }
        // Those that were there still are, and one that was refused is not.
        let (old, new): (Vec<_>, Vec<_>) = ids(lab)?.into_iter().partition(|id| known.contains(id));
        see::same(&outcome.line, "how many containers are left, of two:", 2, old.len())?;
        see::same(&outcome.line, "refused, and a new one there:", false, refused && !new.is_empty())?;
        new.iter().try_for_each(|id| lab.call("rm", ["-f", id]).finish()?.succeeds().map(drop))?;
    }
    ended.exits(7)?;
    living.exits(137)?;
    ended.remove()?;
    living.remove()?;
    fs::remove_file(lab.state().join("others-data"))?;
    let names = fs::read_dir(lab.state().join("names"))?.count();
    see::same("rm", "names left:", 0, names)?;
    lab.run(["true"]).finish()?.succeeds().map(drop)
}
