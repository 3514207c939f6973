//! `diff`: what a container has changed in its files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see::{self, cannot_run};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "diff-lists",
        Lifecycle,
        "diff lists by their paths what a container has added, changed and deleted, while it runs and afterwards.",
        changes,
    )
    .exercise("diff"),
    Check::new(
        "diff-again",
        Lifecycle,
        "Of a directory that was deleted and made again, diff knows what of the image is gone.",
        made_again,
    )
    .exercise("diff"),
    Check::new(
        "diff-odd",
        Lifecycle,
        "diff follows no link, and prints one harmless line for each change, whatever its name.",
        odd,
    )
    .exercise("diff"),
];

/// The image, with a few files more.
fn image(lab: &Lab) -> Result<PathBuf> {
    let image = lab.path("image");
    let status = Command::new("cp").arg("-a").arg(lab.image()?).arg(&image).status().context("running cp")?;
    if !status.success() {
        return Err(cannot_run("cp -a cannot copy the image"));
    }
    fs::create_dir_all(image.join("tree/sub/deep"))?;
    for name in ["one", "two", "three", "sub/four", "sub/deep/five"] {
        fs::write(image.join("tree").join(name), "of the image\n")?;
    }
    Ok(image)
}

/// Has a container do this, and compares what diff says, while it runs and when it has ended.
fn differs(lab: &Lab, script: &str, expected: &str) -> Result<()> {
    let image = image(lab)?;
    let script = format!("{script}\necho done; exec sleep 1000");
    let one = lab.kept(["sh", "-c", &script]).with(["--rootfs".as_ref(), image.as_os_str()]).detach()?;
    one.wrote("done\n")?;
    lab.says("diff", [one.id()], expected)?;
    lab.says("kill", [one.id()], &format!("{}\n", one.id()))?;
    one.exits(137)?;
    lab.says("diff", [one.id()], expected)?;
    lab.host_unchanged("diff")?;
    one.remove()?;
    fs::remove_dir_all(&image).context("removing the check's image")
}

fn changes(lab: &Lab) -> Result<()> {
    differs(lab, "", "")?;
    let script = "cd /tree; echo x >> one; rm two; chmod 600 sub/four; mkdir -p new/dir; touch new/dir/file; \
                  ln -s one link; rm three; mkdir three; mkdir gone; rmdir gone; rm -r sub/deep";
    let expected = "C /tree\nA /tree/link\nA /tree/new\nA /tree/new/dir\nA /tree/new/dir/file\nC /tree/one\n\
                    C /tree/sub\nD /tree/sub/deep\nC /tree/sub/four\nC /tree/three\nD /tree/two\n";
    differs(lab, script, expected)?;
    lab.refuses("diff", ["nobody"], "nobody")
}

fn made_again(lab: &Lab) -> Result<()> {
    let script = "rm -r /tree; mkdir -p /tree/sub; echo x > /tree/one; echo x > /tree/new";
    let expected = "C /tree\nA /tree/new\nC /tree/one\nC /tree/sub\nD /tree/sub/deep\nD /tree/sub/four\n\
                    D /tree/three\nD /tree/two\n";
    differs(lab, script, expected)
}

fn odd(lab: &Lab) -> Result<()> {
    let image = image(lab)?;
    let script = "cd /tree; ln -s / root; ln -s . self; touch \"$(printf 'new\\nline')\" \"$(printf '\\033[2J')\" \"$(printf '\\377')\"; \
                  rm -r sub; ln -s / sub; echo done; exec sleep 1000";
    let one = lab.kept(["sh", "-c", script]).with(["--rootfs".as_ref(), image.as_os_str()]).detach()?;
    one.wrote("done\n")?;
    let outcome = lab.call("diff", [one.id()]).finish()?;
    outcome.succeeds()?;
    let harmless = outcome.stdout.iter().all(|byte| *byte >= b' ' || *byte == b'\n');
    see::same(&outcome.line, "lines without control characters:", true, harmless)?;
    see::same(&outcome.line, "lines:", 7, outcome.output().lines().count())?;
    for line in ["A /tree/root", "A /tree/self", "C /tree/sub"] {
        if !outcome.output().lines().any(|other| other == line) {
            return Err(outcome.differs(format!("the line {line:?}")));
        }
    }
    Ok(())
}
