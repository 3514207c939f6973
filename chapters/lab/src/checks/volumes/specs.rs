//! What `-v` does not accept: said in one line, and nothing made.

use std::fs;

use anyhow::Result;

use super::sources::{source, volume};
use crate::chapter::Chapter::Volumes;
use crate::checks::check::Check;
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
        "A SRC that cannot be made, for a file is in its way, is refused.",
        bad_source,
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
    Ok(())
}
