//! Checks for the exercises of the book: options that no chapter has, and that a reader adds.

mod build;
mod diff;
mod firewall;
mod record;
mod restart;
mod server;
mod ulimit;
mod update;
mod vxlan;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::chapter::Chapter::{Cgroups, Overlay, PivotRoot, Run, Volumes};
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, cannot_run};
use crate::trial::runtime::Lab;
use crate::trial::strace::each_failing_of;

pub(crate) const CHECKS: &[&[Check]] = &[
    BEFORE_INIT,
    record::CHECKS,
    restart::CHECKS,
    update::CHECKS,
    diff::CHECKS,
    ulimit::CHECKS,
    build::CHECKS,
    firewall::CHECKS,
    vxlan::CHECKS,
];

const BEFORE_INIT: &[Check] = &[
    Check::new("workdir", Run, "-w DIR starts the command in that directory.", workdir).exercise("workdir"),
    Check::new(
        "workdir-missing",
        Run,
        "-w of what is no directory is refused, and the command never runs.",
        workdir_missing,
    )
    .exercise("workdir"),
    Check::new(
        "env",
        Run,
        "-e NAME=VALUE adds a variable or replaces one of the four; the last of a name counts.",
        env,
    )
    .exercise("env"),
    Check::new("env-bad", Run, "-e without a name or without = is refused.", env_bad).exercise("env"),
    Check::new("oom-score", Cgroups, "--oom-score-adj N sets the command's oom_score_adj.", oom_score)
        .exercise("oom-score"),
    Check::new("oom-score-lower", Cgroups, "--oom-score-adj takes a number below 0 too.", oom_score_lower)
        .exercise("oom-score"),
    Check::new(
        "oom-score-bad",
        Cgroups,
        "--oom-score-adj outside of -1000 to 1000, or of what is no number, is refused.",
        oom_score_bad,
    )
    .exercise("oom-score"),
    Check::new(
        "read-only",
        PivotRoot,
        "With --read-only nothing in the root can be written, and /dev/null still works.",
        read_only,
    )
    .exercise("read-only"),
    Check::new(
        "read-only-fails",
        PivotRoot,
        "If the root cannot be made read-only, run returns 125 and the command never runs.",
        read_only_fails,
    )
    .exercise("read-only"),
    Check::new(
        "layers",
        Overlay,
        "--rootfs can be given again: the first is the topmost layer, and all are seen as one tree.",
        layers,
    )
    .exercise("layers"),
    Check::new(
        "layers-unchanged",
        Overlay,
        "No layer is changed by what the container does.",
        layers_unchanged,
    )
    .exercise("layers"),
    Check::new(
        "tmpfs",
        Volumes,
        "--tmpfs DST mounts an empty tmpfs there, nosuid,nodev and of mode 1777, made if missing.",
        tmpfs,
    )
    .exercise("tmpfs"),
    Check::new(
        "tmpfs-links",
        Volumes,
        "Links in the image that lead out of it never take a tmpfs there.",
        tmpfs_links,
    )
    .exercise("tmpfs"),
];

fn workdir(lab: &Lab) -> Result<()> {
    lab.run(["pwd"]).with(["-w", "/proc"]).finish()?.succeeds()?.prints("/proc\n")?;
    lab.run(["ls", "-d", "null"]).with(["-w", "/dev"]).finish()?.succeeds()?.prints("null\n")?;
    Ok(())
}

fn workdir_missing(lab: &Lab) -> Result<()> {
    for directory in ["/no/such/directory", "/etc/passwd"] {
        lab.sh("echo ran").with(["-w", directory]).finish()?.refuses(&[125])?.mentions(directory)?;
    }
    Ok(())
}

fn env(lab: &Lab) -> Result<()> {
    let options = ["-e", "A=1", "-e", "B=two words", "-e", "A=x=y", "-e", "TERM=own", "-e", "EMPTY="];
    let mut run = lab.run(["sleep", "1000"]).with(options).start()?;
    let environment = run.container()?.environment()?;
    let names: BTreeSet<_> = environment.keys().map(String::as_str).collect();
    run.same("the variables", ["A", "B", "EMPTY", "HOME", "HOSTNAME", "PATH", "TERM"].into(), names)?;
    for (name, value) in [("A", "x=y"), ("B", "two words"), ("TERM", "own"), ("EMPTY", "")] {
        run.same(name, Some(value), environment.get(name).map(String::as_str))?;
    }
    run.kill_command().map(drop)
}

fn env_bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["-e", "NAME=value"]).finish()?.succeeds()?; // else everything would be refused
    for bad in ["NAME", "=value", ""] {
        lab.sh("echo ran").with(["-e", bad]).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn oom_score(lab: &Lab) -> Result<()> {
    ["500", "0"].iter().try_for_each(|score| sets_score(lab, score))
}

fn oom_score_lower(lab: &Lab) -> Result<()> {
    // To go below one's own takes CAP_SYS_RESOURCE, number 24.
    let effective = Process::this().status("CapEff").context("no CapEff in /proc")?;
    if u64::from_str_radix(&effective, 16)? & (1 << 24) == 0 {
        return Err(cannot_run("this machine gives no CAP_SYS_RESOURCE"));
    }
    sets_score(lab, "-500")
}

fn sets_score(lab: &Lab, score: &str) -> Result<()> {
    let run = lab.run(["cat", "/proc/self/oom_score_adj"]).with(["--oom-score-adj", score]);
    run.finish()?.succeeds()?.prints(format!("{score}\n"))?;
    Ok(())
}

fn oom_score_bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--oom-score-adj", "1000"]).finish()?.succeeds()?; // else everything would be refused
    for bad in ["1001", "-1001", "abc", "1.5", ""] {
        lab.sh("echo ran").with(["--oom-score-adj", bad]).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn read_only(lab: &Lab) -> Result<()> {
    let before = Snapshot::of(&lab.image()?)?;
    let script = "
        for path in /new /etc/passwd /tmp/new; do
            { echo x > $path; } 2> /dev/null && echo \"$path was written\"
        done
        echo x > /dev/null && [ -c /dev/null ] && echo still";
    let outcome = lab.sh(script).with(["--read-only"]).finish()?;
    outcome.succeeds()?.prints("still\n")?;
    before.still(&outcome.line)?;
    lab.sh("echo x > /tmp/new && echo written").finish()?.succeeds()?.prints("written\n")?;
    Ok(())
}

fn read_only_fails(lab: &Lab) -> Result<()> {
    each_failing_of(lab, "mount", || lab.sh("echo the command ran").with(["--read-only"]))
}

/// Two small layers and a copy of the image below them, as options.
fn three_layers(lab: &Lab) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let bottom = lab.path("bottom");
    let status =
        Command::new("cp").arg("-a").arg(lab.image()?).arg(&bottom).status().context("running cp")?;
    if !status.success() {
        return Err(cannot_run("cp -a cannot copy the image"));
    }
    let (top, middle) = (lab.folder("top/tmp")?, lab.folder("middle/tmp")?);
    fs::write(top.join("one"), "top\n")?;
    fs::write(middle.join("one"), "middle\n")?;
    fs::write(middle.join("two"), "middle\n")?;
    fs::write(bottom.join("tmp/two"), "bottom\n")?;
    fs::write(bottom.join("tmp/three"), "bottom\n")?;
    let directories = vec![lab.path("top"), lab.path("middle"), bottom];
    let options = directories.iter().flat_map(|path| ["--rootfs".to_string(), path.display().to_string()]);
    let options = options.collect();
    Ok((directories, options))
}

fn layers(lab: &Lab) -> Result<()> {
    let (_, options) = three_layers(lab)?;
    let run = lab.sh("cd /tmp && cat one two three").with(&options);
    run.finish()?.succeeds()?.prints("top\nmiddle\nbottom\n")?;
    Ok(())
}

fn layers_unchanged(lab: &Lab) -> Result<()> {
    let (directories, options) = three_layers(lab)?;
    let before = directories.iter().map(|path| Snapshot::of(path)).collect::<Result<Vec<_>>>()?;
    // All of them first: who takes only one of the options has changed nothing either.
    let script =
        "cd /tmp && grep -qx top one && grep -qx middle two && echo x > one && rm two three && touch new";
    let outcome = lab.sh(script).with(&options).finish()?;
    outcome.succeeds()?;
    before.iter().try_for_each(|one| one.still(&outcome.line))
}

fn tmpfs(lab: &Lab) -> Result<()> {
    for target in ["/scratch", "/a/b/scratch", "/tmp"] {
        let script = format!("ls -A {target}; echo x > {target}/file && cat {target}/file; exec sleep 1000");
        let mut run = lab.sh(&script).with(["--tmpfs", target]).start()?;
        run.wrote("x\n")?;
        run.same("on stdout", "x\n", String::from_utf8_lossy(&run.stdout()).as_ref())?;
        let container = run.container()?;
        let table = container.mounts()?;
        let Some(mount) = table.iter().find(|mount| mount.point == target) else {
            return Err(run.differs(format!("a mount on {target}"), "none"));
        };
        let seen = (mount.filesystem.as_str(), mount.has("nosuid"), mount.has("nodev"));
        run.same(&format!("{target} a tmpfs, nosuid, nodev:"), ("tmpfs", true, true), seen)?;
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(container.path(target))?) & 0o7777;
        run.same(&format!("the mode of {target}"), "1777", format!("{mode:o}").as_str())?;
        run.kill_command()?;
    }
    Ok(())
}

fn tmpfs_links(lab: &Lab) -> Result<()> {
    let outside = lab.folder("outside")?;
    let before = Snapshot::of(&outside)?;
    let image = lab.image()?;
    symlink(&outside, image.join("out"))?;
    symlink("/", image.join("slash"))?;
    let run = lab.sh("echo x > /scratch/file && cat /slash/scratch/file").with(["--tmpfs", "/slash/scratch"]);
    run.finish()?.succeeds()?.prints("x\n")?;
    // It may be made inside, or refused.
    let outcome =
        lab.sh("echo x > /out/new/file && cat /out/new/file").with(["--tmpfs", "/out/new"]).finish()?;
    if outcome.status.success() {
        outcome.succeeds()?.prints("x\n")?;
    } else {
        outcome.refuses(&[125])?;
    }
    before.still(&outcome.line)?;
    see::same(&outcome.line, "a directory on the host:", false, Path::new(&outside).join("new").exists())
}
