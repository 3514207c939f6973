//! Where a volume appears: inside the container's root, whatever links the image holds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::sources::{source, volume};
use crate::chapter::Chapter::Volumes;
use crate::checks::check::Check;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, cannot_run};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "volume-target-made",
        Volumes,
        "A missing DST is made, with the directories above it.",
        target_made,
    ),
    Check::new(
        "volume-target-covered",
        Volumes,
        "DST may be a directory of the image; it is covered, and comes back with the next container.",
        target_covered,
    ),
    Check::new(
        "volume-target-links",
        Volumes,
        "Links in the image that lead out of it never take a volume there: / is the container's root.",
        target_links,
    ),
    Check::new(
        "volume-target-loop",
        Volumes,
        "A DST through a loop of links is refused, and SRC is not made.",
        target_loop,
    ),
    Check::new(
        "volume-bad-makes-nothing",
        Volumes,
        "One DST that cannot be had is refused before any SRC is made, another volume's included.",
        bad_makes_nothing,
    ),
    Check::new(
        "volume-target-kind",
        Volumes,
        "A directory on a file, or a file on a directory, is refused.",
        target_kind,
    ),
    Check::new(
        "volume-target-hidden",
        Volumes,
        "A volume where /proc or /dev will be is refused or visible, but never silently covered.",
        target_hidden,
    ),
    Check::new(
        "volume-hidden-by-links",
        Volumes,
        "Where links in the image lead two volumes, or one and /proc or /dev, to one place, none is silently covered.",
        hidden_by_links,
    ),
];

fn target_made(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    for target in ["/data", "/a/b/c", "/etc/new"] {
        let run = lab.sh(&format!("cat {target}/file; stat -c %a {target}/..")).with(volume(&source, target));
        run.finish()?.succeeds()?.prints("the host's\n755\n")?;
    }
    Ok(())
}

fn target_covered(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    lab.run(["ls", "/etc"]).with(volume(&source, "/etc")).finish()?.succeeds()?.prints("file\n")?;
    lab.run(["ls", "/etc/passwd"]).finish()?.succeeds()?.prints("/etc/passwd\n")?;
    Ok(())
}

fn target_links(lab: &Lab) -> Result<()> {
    let (source, outside) = (source(lab, "source")?, lab.folder("outside")?);
    fs::create_dir(outside.join("data"))?;
    let before = Snapshot::of(&outside)?;
    let image = lab.image()?;
    let name = outside.to_str().context("the temporary directory's path is no text")?;
    let far_up = "../".repeat(30);
    for (link, leads_to) in [
        ("slash", "/".to_string()),
        ("up", "/..".to_string()),
        ("far-up", far_up.clone()),
        ("out", name.to_string()),
        ("far-out", format!("{far_up}{}", name.trim_start_matches('/'))),
        ("proc-out", "/proc/1/root".to_string()),
    ] {
        symlink(leads_to, image.join(link))?;
    }
    let image_before = Snapshot::of(&image)?;
    // These lead to the container's own root, and so to its /data.
    for target in ["/slash/data", "/up/data", "/far-up/data"] {
        let script = format!("cat /data/file {target}/file");
        let outcome = lab.sh(&script).with(volume(&source, target)).finish()?;
        outcome.succeeds()?.prints("the host's\nthe host's\n")?;
        before.still(&outcome.line)?;
    }
    // What these lead to is not in the image. It may be made there, or refused.
    for target in ["/out", "/out/data", "/out/new", "/far-out", "/far-out/data", "/proc-out/data"] {
        let outcome = lab.sh(&format!("cat {target}/file")).with(volume(&source, target)).finish()?;
        if outcome.status.success() {
            outcome.succeeds()?.prints("the host's\n")?;
        } else {
            outcome.refuses(&[125])?;
        }
        before.still(&outcome.line)?;
        image_before.still(&outcome.line)?;
        lab.host_unchanged(&outcome.line)?;
    }
    Ok(())
}

fn target_loop(lab: &Lab) -> Result<()> {
    let image = lab.image()?;
    symlink("loop", image.join("loop"))?;
    symlink("/tmp/b", image.join("tmp/a"))?;
    symlink("/tmp/a", image.join("tmp/b"))?;
    let missing = lab.path("missing");
    for target in ["/loop", "/loop/data", "/tmp/a/data"] {
        let outcome = lab.sh("echo ran").with(volume(&missing, target)).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "SRC made on the host:", false, missing.exists())?;
    }
    Ok(())
}

fn target_kind(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    lab.sh("echo ran").with(volume(&source, "/etc/passwd")).finish()?.refuses(&[125])?;
    lab.sh("echo ran").with(volume(&source.join("file"), "/etc")).finish()?.refuses(&[125])?;
    lab.sh("echo ran").with(volume(&source, "/etc/passwd/below")).finish()?.refuses(&[125])?;
    Ok(())
}

fn target_hidden(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    for target in ["/proc", "/proc/data", "/dev", "/dev/data"] {
        let outcome = lab.sh(&format!("cat {target}/file")).with(volume(&source, target)).finish()?;
        if outcome.status.code() == Some(125) {
            outcome.refuses(&[125])?;
        } else {
            outcome.succeeds()?.prints("the host's\n")?;
        }
    }
    Ok(())
}

fn bad_makes_nothing(lab: &Lab) -> Result<()> {
    let (good, bad) = (lab.path("good"), lab.path("bad"));
    symlink("/dev", lab.image()?.join("devices"))?;
    symlink("loop", lab.image()?.join("loop"))?;
    for target in [
        "/dev",
        "/proc",
        "/devices",
        "/dev/new/deep",
        "/proc/new",
        "/devices/new",
        "/loop/new",
        "/etc/passwd/new",
    ] {
        let volumes = [volume(&good, "/data"), volume(&bad, target)].concat();
        let outcome = lab.sh("echo ran").with(volumes).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "the two SRC to exist:", (false, false), (good.exists(), bad.exists()))?;
    }
    Ok(())
}

/// A link of the image: where it is, and where it leads to.
type Link<'a> = (&'a str, &'a str);

/// The image with links in the place of what is there.
fn with_link(lab: &Lab, name: &str, links: &[Link<'_>]) -> Result<PathBuf> {
    let copy = lab.path(name);
    let status = Command::new("cp").arg("-al").arg(lab.image()?).arg(&copy).status().context("running cp")?;
    if !status.success() {
        return Err(cannot_run("cp -al cannot copy the image"));
    }
    for (place, to) in links {
        let place = copy.join(place);
        if place.is_dir() {
            fs::remove_dir(&place).with_context(|| format!("removing {}", place.display()))?;
        }
        symlink(to, &place)?;
    }
    Ok(copy)
}

fn hidden_by_links(lab: &Lab) -> Result<()> {
    let sources = [source(lab, "one")?, source(lab, "two")?];
    for deep in ["deep", "x", "y", "dev", "proc"] {
        sources.iter().try_for_each(|source| fs::create_dir(source.join(deep)))?;
    }
    let before = sources.iter().map(|source| Snapshot::of(source)).collect::<Result<Vec<_>>>()?;
    let cases: [(&[Link<'_>], &[&str]); 10] = [
        (&[("proc", "data")], &["/data"]),
        (&[("proc", "/data/deep")], &["/data"]),
        (&[("proc", "data")], &["/data/deep"]),
        (&[("dev", "data2")], &["/data2"]),
        (&[("dev", "data2/deep")], &["/data2"]),
        (&[("dev", "home"), ("l", "home")], &["/l"]),
        (&[("l", "x/y")], &["/l", "/x"]),
        (&[("l", "x")], &["/l/y", "/x"]),
        (&[("l", "x")], &["/l", "/x"]),
        (&[("l", "/x/../x/y"), ("m", "l")], &["/m", "/x"]),
    ];
    for (number, (links, targets)) in cases.into_iter().enumerate() {
        let root = with_link(lab, &format!("image-{number}"), links)?;
        // What leads somewhere leads there from the start, or only once a volume is made on the way.
        for makes in [false, true] {
            if makes {
                for name in ["data/deep", "data2/deep", "x/y"] {
                    fs::create_dir_all(root.join(name))?;
                }
            }
            let script: String = targets.iter().map(|target| format!("cat {target}/file; ")).collect();
            let mut run = lab.sh(&script).with(["--rootfs".as_ref(), root.as_os_str()]);
            for (source, target) in sources.iter().zip(targets) {
                run = run.with(volume(source, target));
            }
            let outcome = run.finish()?;
            let did = format!("{} with links {links:?} in the image", outcome.line);
            if outcome.status.success() {
                see::same(&did, "on stdout", "the host's\n".repeat(targets.len()), outcome.output())?;
            } else {
                outcome.refuses(&[125]).with_context(|| did.clone())?;
            }
            before.iter().try_for_each(|snapshot| snapshot.still(&did))?;
        }
    }
    Ok(())
}
