//! What `-v` does not accept: said in one line, and nothing made.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;
use nix::mount::MsFlags;

use super::sources::{source, volume};
use crate::chapter::Chapter::Volumes;
use crate::checks::check::Check;
use crate::machine::mounts::{bind, rebind};
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "volume-bad-spec",
        Volumes,
        "A -v that is not SRC:DST[:ro|rw] with an absolute DST is refused, and SRC is not made.",
        bad_spec,
    ),
    Check::new(
        "volume-same-target",
        Volumes,
        "Two volumes on one DST are refused, however it is written, and no SRC is made.",
        same_target,
    ),
    Check::new(
        "volume-bad-source",
        Volumes,
        "A SRC that cannot be made, for a file or a read-only mount is in its way, is refused with the reason.",
        bad_source,
    ),
    Check::new(
        "volume-tilde",
        Volumes,
        "A ~ that the shell left as it is, as in -v '~/x:/y', is refused, and no directory of that name is made.",
        tilde,
    ),
    Check::new(
        "volume-dead-link",
        Volumes,
        "A SRC that is a link to nothing is refused as such, and what it leads to is not made.",
        dead_link,
    ),
];

fn bad_spec(lab: &Lab) -> Result<()> {
    let here = lab.folder("here")?;
    for spec in [
        "a",
        "a:b",
        "a:/b:rx",
        ":/b",
        "a:",
        "/a:",
        "a:/",
        "a:/b/../c",
        "a:/..",
        "a:/b:",
        "a:/b:ro:rw",
        "a:/b:ro,rw",
        "",
        ":",
        "a:./b",
    ] {
        let outcome = lab.sh("echo ran").with(["-v", spec]).inside(&here).finish()?;
        outcome.refuses(&[125])?;
        let made: Vec<_> = fs::read_dir(&here)?.flatten().map(|entry| entry.path()).collect();
        see::same(&outcome.line, "in the current directory", Vec::new(), made)?;
    }
    see::same("run -v /a: sh", "/a on the host:", false, fs::exists("/a")?)
}

fn same_target(lab: &Lab) -> Result<()> {
    let (one, two) = (lab.path("one"), lab.path("two"));
    for (first, second) in [
        ("/data", "/data"),
        ("/data", "/data/"),
        ("//data", "/data"),
        ("/data/.", "/data"),
        ("/data:ro", "/data:rw"),
        ("/a//b", "/a/b/"),
    ] {
        let outcome = lab.sh("echo ran").with(volume(&one, first)).with(volume(&two, second)).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "SRC made:", (false, false), (one.exists(), two.exists()))?;
    }
    Ok(())
}

fn bad_source(lab: &Lab) -> Result<()> {
    let file = source(lab, "source")?.join("file");
    lab.sh("echo ran").with(volume(&file.join("below"), "/data")).finish()?.refuses(&[125])?;
    // It is not the mount that is the reason.
    let closed = lab.folder("closed")?;
    bind(&closed, &closed)?;
    rebind(&closed, MsFlags::MS_RDONLY)?;
    lab.arranged()?;
    let outcome = lab.sh("echo ran").with(volume(&closed.join("new"), "/data")).finish()?;
    outcome.refuses(&[125])?.mentions("read-only")?;
    Ok(())
}

fn tilde(lab: &Lab) -> Result<()> {
    let here = lab.folder("here")?;
    for spec in ["~/x:/y", "~:/y", "~nobody/x:/y", "~/x:/y:ro"] {
        let outcome = lab.sh("echo ran").with(["-v", spec]).inside(&here).finish()?;
        outcome.refuses(&[125])?.mentions("~")?;
        let made: Vec<_> = fs::read_dir(&here)?.flatten().map(|entry| entry.path()).collect();
        see::same(&outcome.line, "in the current directory", Vec::new(), made)?;
    }
    // Who does mean a directory of this name can say so.
    fs::create_dir(here.join("~"))?;
    fs::write(here.join("~/file"), "the host's\n")?;
    let run = lab.run(["cat", "/y/file"]).with(["-v", "./~:/y"]).inside(&here);
    run.finish()?.succeeds()?.prints("the host's\n")?;
    Ok(())
}

fn dead_link(lab: &Lab) -> Result<()> {
    let (dead, nothing) = (lab.path("dead"), lab.path("nothing"));
    symlink(&nothing, &dead)?;
    for rest in ["/data", "/data:ro", "/etc/passwd"] {
        let outcome = lab.sh("echo ran").with(volume(&dead, rest)).finish()?;
        outcome.refuses(&[125])?.mentions("link")?;
        see::same(&outcome.line, "what the link leads to:", false, nothing.exists())?;
    }
    // One that leads somewhere is followed.
    fs::create_dir(&nothing)?;
    fs::write(nothing.join("file"), "the host's\n")?;
    lab.run(["cat", "/data/file"])
        .with(volume(&dead, "/data"))
        .finish()?
        .succeeds()?
        .prints("the host's\n")?;
    Ok(())
}
