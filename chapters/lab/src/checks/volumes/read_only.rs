//! `:ro`: the container can read, and nothing that it does changes the host's files.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::sources::{source, volume};
use crate::chapter::Chapter::Volumes;
use crate::checks::check::Check;
use crate::machine::mounts::tmpfs;
use crate::machine::snapshot::Snapshot;
use crate::see::cannot_run;
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
        "volume-read-only-silent",
        Volumes,
        "With :ro a file system below SRC that is dead, or never answers, is no hindrance.",
        read_only_silent,
    ),
    Check::new(
        "volume-nosymfollow",
        Volumes,
        "A volume from a mount with nosymfollow (Linux 5.10) keeps it, read-only or not.",
        nosymfollow,
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

/// Mounts a file system whose server is this program, which serves nothing: every question to it waits for an answer, and
/// fails once the file returned is closed. That is what mount(2) of FUSE wants; no library is needed to answer nothing.
fn silent(lab: &Lab, point: &Path) -> Result<File> {
    let device = lab.path("fuse");
    let made = mknod(&device, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(10, 229));
    let open = || File::options().read(true).write(true).open(&device);
    let server = made.map_err(std::io::Error::from).and_then(|()| open());
    let server = server.map_err(|error| cannot_run(format!("/dev/fuse cannot be opened here: {error}")))?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("silent"), point, Some("fuse"), flags, Some(options.as_str()))
        .map_err(|errno| cannot_run(format!("FUSE cannot be mounted here: {errno}")))?;
    fs::remove_file(device)?;
    Ok(server)
}

fn read_only_silent(lab: &Lab) -> Result<()> {
    let source = source(lab, "source")?;
    let below = lab.folder("source/below")?;
    let server = silent(lab, &below)?;
    lab.arranged()?;
    let tried = |state: &str| {
        for (mode, written) in [("/data", "written\n"), ("/data:ro", "")] {
            let script = "cat /data/file; touch /data/new 2> /dev/null && echo written; exit 0";
            let run = lab.sh(script).with(volume(&source, mode)).finish();
            let outcome = run.with_context(|| format!("with a file system below SRC that {state}"))?;
            outcome.succeeds()?.prints(format!("the host's\n{written}"))?;
        }
        Ok(())
    };
    let answers = tried("never answers");
    drop(server);
    answers.and_then(|()| tried("is dead"))
}

fn nosymfollow(lab: &Lab) -> Result<()> {
    let source = lab.folder("source")?;
    tmpfs(&source, MsFlags::from_bits_retain(MS_NOSYMFOLLOW), "size=1m")?;
    fs::write(source.join("file"), "the host's\n")?;
    symlink("file", source.join("link"))?;
    lab.arranged()?;
    if fs::read(source.join("link")).is_ok() {
        return Err(cannot_run("this kernel knows no nosymfollow"));
    }
    for mode in ["/data", "/data:ro"] {
        let run = lab.sh("cat /data/link 2> /dev/null && echo followed; exit 0").with(volume(&source, mode));
        run.finish()?.succeeds()?.prints("")?;
        let mut run = lab.run(["sleep", "1000"]).with(volume(&source, mode)).start()?;
        let table = run.container()?.mounts()?;
        let options = table.into_iter().find(|mount| mount.point == "/data").map(|mount| mount.options);
        let kept = options.as_ref().is_some_and(|list| list.split(',').any(|one| one == "nosymfollow"));
        run.same(&format!("nosymfollow among the options of /data, {options:?}:"), true, kept)?;
        run.kill_command()?;
    }
    Ok(())
}

/// A flag of mount(2) that came with Linux 5.10; older kernels ignore it.
const MS_NOSYMFOLLOW: u64 = 256;
