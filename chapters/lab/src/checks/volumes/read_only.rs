//! `:ro`: the container can read, and nothing that it does changes the host's files.

use std::fs;

use anyhow::Result;
use nix::mount::MsFlags;

use super::sources::{source, volume};
use crate::chapter::Chapter::Volumes;
use crate::checks::check::Check;
use crate::machine::mounts::tmpfs;
use crate::machine::snapshot::Snapshot;
use crate::trial::runtime::Lab;
use crate::trial::strace::{MOUNTS, each_failing_of};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "volume-read-only",
        Volumes,
        "With :ro the container can read and change nothing, by no kind of change.",
        read_only,
    ),
    Check::new(
        "volume-read-only-file",
        Volumes,
        "With :ro a single file cannot be changed either.",
        read_only_file,
    ),
    Check::new(
        "volume-read-only-below",
        Volumes,
        "With :ro what is mounted below SRC is read-only as well, while the host can still write.",
        read_only_below,
    ),
    Check::new(
        "volume-read-only-covered",
        Volumes,
        "With :ro a mount below SRC that another one covers is no hindrance.",
        read_only_covered,
    ),
    Check::new(
        "volume-read-only-apart",
        Volumes,
        "One volume's :ro does not make another one read-only, nor the host's own directory.",
        read_only_apart,
    ),
    Check::new(
        "volume-mount-fails",
        Volumes,
        "If a volume's mount fails, or making it read-only, run returns 125 and the command never runs.",
        mount_fails,
    ),
];

fn read_only(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    fs::create_dir(source.join("directory"))?;
    let before = Snapshot::of(&source)?;
    let script = "
        cat /data/file
        for change in 'touch new' 'echo x > file' 'rm file' 'mv file other' 'mkdir sub' 'chmod 777 file' \
            'ln -s x link' 'rmdir directory' 'touch directory/new' 'chown 5 file' 'ln file hard'; do
            (cd /data && eval \"$change\") 2> /dev/null && echo \"$change worked\"
        done
        exit 0";
    let outcome = lab.sh(script).with(volume(&source, "/data:ro")).finish()?;
    outcome.succeeds()?.prints("the host's\n")?;
    before.still(&outcome.line)
}

fn read_only_file(lab: &Lab) -> Result<()> {
    let file = source(lab, "source")?.join("file");
    let before = Snapshot::of(&file)?;
    for target in ["/etc/passwd", "/new"] {
        let script = format!("cat {target}; {{ echo x > {target}; }} 2> /dev/null && echo worked; exit 0");
        let outcome = lab.sh(&script).with(volume(&file, &format!("{target}:ro"))).finish()?;
        outcome.succeeds()?.prints("the host's\n")?;
        before.still(&outcome.line)?;
    }
    Ok(())
}

fn read_only_below(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    for name in ["below", "two words"] {
        let below = lab.folder(&format!("source/{name}"))?;
        tmpfs(&below, MsFlags::MS_NOSUID, "size=1m")?;
        fs::write(below.join("file"), "below\n")?;
    }
    lab.arranged()?;
    let before = Snapshot::of(&source)?;
    let script = "cat /data/file /data/below/file '/data/two words/file'
                  for path in /data/new /data/below/new '/data/two words/new'; do
                      touch \"$path\" 2> /dev/null && echo \"touch $path worked\"
                  done
                  cd '/data/two words' && touch new 2> /dev/null && echo worked; exit 0";
    let outcome = lab.sh(script).with(volume(&source, "/data:ro")).finish()?;
    outcome.exits(0)?.prints("the host's\nbelow\nbelow\n")?;
    before.still(&outcome.line)?;
    fs::write(source.join("below/file"), "the host still can\n")?;
    Ok(())
}

fn read_only_apart(lab: &Lab) -> Result<()> {
    let (one, two) = (source(lab, "one")?, source(lab, "two")?);
    let script =
        "touch /two/new /one-again/new && ! touch /one/new 2> /dev/null && touch /anywhere && echo ready
                  while [ ! -e /one/from-the-host ]; do sleep 0.05; done";
    let run = lab.sh(script).with(volume(&one, "/one:ro")).with(volume(&two, "/two"));
    let mut run = run.with(volume(&one, "/one-again")).start()?;
    run.wrote("ready")?;
    // While it is read-only inside, the host can write.
    fs::write(one.join("from-the-host"), "")?;
    run.finish()?.succeeds()?;
    Ok(())
}

fn mount_fails(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    // With the volume there, so that its mount is among those.
    let script = "[ -e /data/file ] && echo the command ran";
    each_failing_of(lab, MOUNTS, || lab.sh(script).with(volume(&source, "/data:ro")))
}

fn read_only_covered(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    for directory in ["a", "a/b", "a"] {
        // The last one hides the second, which is still in the mount table.
        fs::create_dir_all(source.join(directory))?;
        tmpfs(&source.join(directory), MsFlags::empty(), "")?;
    }
    lab.arranged()?;
    let script = "touch /data/x /data/a/x 2>/dev/null; ls /data/a";
    let outcome = lab.sh(script).with(volume(&source, "/data:ro")).finish()?;
    outcome.succeeds()?.prints("")?;
    Ok(())
}
