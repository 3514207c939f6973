//! An image from `images/busybox.tar`, and tar files that mean harm.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tar::{Builder, EntryType, Header};

use crate::chapter::Chapter::PivotRoot;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::machine::snapshot::Snapshot;
use crate::see::{self, SOON, cannot_run, wait_for};
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "tar-image",
        PivotRoot,
        "images/busybox.tar, as docker export writes it, becomes the image.",
        tar_image,
    ),
    Check::new(
        "tar-hostile",
        PivotRoot,
        "A tar entry that would leave the image, or is a device, is refused, nothing is written outside, and no image stays.",
        tar_hostile,
    ),
    Check::new(
        "tar-broken",
        PivotRoot,
        "A tar file that ends too soon, or is none, is refused, and no image stays.",
        tar_broken,
    ),
    Check::new(
        "tar-odd-names",
        PivotRoot,
        "What a tar entry is called cannot command the terminal: control characters in it are shown as text.",
        tar_odd_names,
    ),
    Check::new(
        "image-wait-ends",
        PivotRoot,
        "A run that waits for another one to make the image says so within seconds, and Ctrl-C ends it.",
        wait_ends,
    ),
];

/// An entry's kind, name, and what it links to.
type Entry<'a> = (EntryType, &'a str, &'a str);

/// Appends an entry named exactly so: this library itself would not write some of the names.
fn add(tar: &mut Builder<File>, kind: EntryType, name: &str, target: &str) -> Result<()> {
    let content = if kind == EntryType::Regular { "escaped\n" } else { "" };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o4640);
    header.set_uid(5);
    header.set_gid(6);
    header.set_mtime(0);
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(1)?;
        header.set_device_minor(3)?;
    }
    let fields = header.as_old_mut();
    for (field, text) in [(&mut fields.name, name), (&mut fields.linkname, target)] {
        if text.len() >= field.len() {
            return Err(cannot_run("the temporary directory's path is too long for a tar header"));
        }
        field[..text.len()].copy_from_slice(text.as_bytes());
    }
    header.set_cksum();
    tar.append(&header, content.as_bytes()).context("writing a tar entry")
}

/// Writes a tar file with these entries, and after them a whole busybox image.
fn write(lab: &Lab, state: &Path, entries: &[Entry<'_>]) -> Result<PathBuf> {
    let good = if lab.state().exists() { lab.image_in(&lab.state()) } else { lab.image()? };
    let images = state.join("images");
    fs::create_dir_all(&images)?;
    let path = images.join("busybox.tar");
    let mut tar = Builder::new(File::create(&path)?);
    tar.follow_symlinks(false);
    for (kind, name, target) in entries {
        add(&mut tar, *kind, name, target)?;
    }
    tar.append_dir_all("", &good).context("packing the image")?;
    tar.finish()?;
    Ok(path)
}

fn tar_image(lab: &Lab) -> Result<()> {
    let state = lab.path("from-tar");
    write(lab, &state, &[(EntryType::Regular, "hello", ""), (EntryType::Symlink, "link", "/hello")])?;
    let run = || lab.run(["cat", "/hello", "/link"]).state(&state);
    run().finish()?.succeeds()?.prints("escaped\nescaped\n")?;
    run().finish()?.succeeds()?;
    let script = "busybox --list-full | grep -v linuxrc | while read path; do [ -e \"/$path\" ] || echo \"$path is missing\"; done";
    lab.sh(script).state(&state).finish()?.succeeds()?.prints("")?;
    // Whose the files are, and what may be done with them.
    let script = "stat -c '%u:%g %a' /hello /bin/busybox";
    lab.sh(script).state(&state).finish()?.succeeds()?.prints("5:6 4640\n0:0 755\n")?;
    Ok(())
}

fn tar_hostile(lab: &Lab) -> Result<()> {
    use EntryType::{Block, Char, Link, Regular, Symlink};
    let outside = lab.folder("outside")?;
    fs::write(outside.join("secret"), "the host's\n")?;
    let before = Snapshot::of(&outside)?;
    let outside = outside.to_str().context("the temporary directory's path is no text")?;
    let (file, secret) = (format!("{outside}/escaped"), format!("{outside}/secret"));

    let harmful: [(&str, &[Entry<'_>]); 9] = [
        ("dotdot", &[(Regular, "../escaped", "")]),
        ("dotdot-inside", &[(Regular, "bin/../../../escaped", "")]),
        ("absolute", &[(Regular, &file, "")]),
        ("through-link", &[(Symlink, "out", outside), (Regular, "out/escaped", "")]),
        ("through-relative-link", &[(Symlink, "out", "../../../outside"), (Regular, "out/escaped", "")]),
        ("hard-link", &[(Link, "stolen", &secret)]),
        ("device", &[(Char, "mem", "")]),
        ("disk", &[(Block, "disk", "")]),
        ("relative-hard-link", &[(Link, "stolen", "../../../outside/secret")]),
    ];
    for (name, entries) in harmful {
        let state = lab.path(name);
        write(lab, &state, entries)?;
        let outcome = lab.sh("echo ran").state(&state).finish()?;
        let what = format!("{} with a tar that has {entries:?}", outcome.line);
        outcome.refuses(&[125]).with_context(|| format!("with a tar that has {entries:?}"))?;
        before.still(&what)?;
        let made: Vec<_> =
            fs::read_dir(state.join("images"))?.flatten().map(|entry| entry.file_name()).collect();
        see::same(&what, "in images/", vec!["busybox.tar".into()], made)?;
        see::same(&what, "a file beside the images:", false, state.join("escaped").exists())?;
    }
    // A file in the place of a link may replace the link, but not what it leads to.
    let state = lab.path("over-link");
    write(lab, &state, &[(Symlink, "link", &secret), (Regular, "link", "")])?;
    let outcome = lab.run(["true"]).state(&state).finish()?;
    before.still(&outcome.line)
}

fn tar_broken(lab: &Lab) -> Result<()> {
    for length in [0, 700, 100_000] {
        let state = lab.path(&format!("state-{length}"));
        let tar = write(lab, &state, &[])?;
        File::options().write(true).open(&tar)?.set_len(length)?;
        let outcome = lab.sh("echo ran").state(&state).finish()?;
        // A tar of no bytes is an image of no files: there is no command in it.
        outcome.refuses(if length == 0 { &[125, 126, 127] } else { &[125] })?;
        see::same(&outcome.line, "an image:", false, lab.image_in(&state).exists())?;
    }
    let state = lab.path("no-tar");
    fs::create_dir_all(state.join("images"))?;
    io::copy(
        &mut "no tar file at all, but long enough for a header. ".repeat(100).as_bytes(),
        &mut File::create(state.join("images/busybox.tar"))?,
    )?;
    let outcome = lab.sh("echo ran").state(&state).finish()?;
    outcome.refuses(&[125])?;
    see::same(&outcome.line, "an image:", false, lab.image_in(&state).exists())
}

fn tar_odd_names(lab: &Lab) -> Result<()> {
    use EntryType::{Directory, Link, Regular, Symlink};
    let harmful: [&[Entry<'_>]; 8] = [
        &[(Regular, "../\x1b[2Jx", "")],
        &[(Regular, "../\x1b]0;title\x07", "")],
        &[(Regular, "../two\nlines", "")],
        &[(Regular, "../\r\x08x", "")],
        // Not to be unpacked, for there is a file in the way, or nothing to link to.
        &[(Regular, "file", ""), (Regular, "file/\x1b[2Jx", "")],
        &[(Regular, "file", ""), (Directory, "file/\x1b[2Jx/below", "")],
        &[(Link, "\x1b[2Jx", "no/\x1b[2Jx")],
        &[(Directory, "\x1b[2Jx", ""), (Regular, "\x1b[2Jx", ""), (Symlink, "\x1b[2Jx", "/")],
    ];
    for (number, entries) in harmful.into_iter().enumerate() {
        let state = lab.path(&format!("state-{number}"));
        write(lab, &state, entries)?;
        let outcome = lab.sh("echo ran").state(&state).finish()?;
        outcome.refuses(&[125])?;
        let raw: Vec<_> = outcome.error().trim_end().chars().filter(|c| c.is_control()).collect();
        see::same(&outcome.line, "control characters on stderr:", Vec::new(), raw)?;
    }
    Ok(())
}

/// A tar file that takes a while to unpack.
fn write_large(lab: &Lab, state: &Path) -> Result<()> {
    let names: Vec<_> = (0..5000).map(|number| format!("many/{number}")).collect();
    let files = names.iter().map(|name| (EntryType::Regular, name.as_str(), ""));
    let directory = std::iter::once((EntryType::Directory, "many", ""));
    write(lab, state, &directory.chain(files).collect::<Vec<_>>()).map(drop)
}

/// Starts a run that makes an image, and stops it on the way there.
fn stopped_halfway(lab: &Lab, state: &Path) -> Result<(Running, Vec<Process>)> {
    write_large(lab, state)?;
    let images = state.join("images");
    let before = fs::read_dir(&images)?.count();
    let mut making = lab.run(["true"]).state(state).start()?;
    wait_for(SOON, || {
        let begun = fs::read_dir(&images)?.count() > before;
        Ok((begun || making.ended()?.is_some()).then_some(()))
    })?;
    let stopped = lab.mark().processes();
    stopped.iter().for_each(|process| process.signal(Signal::SIGSTOP));
    if images.join("busybox").exists() || making.ended()?.is_some() {
        stopped.iter().for_each(|process| process.signal(Signal::SIGCONT));
        return Err(cannot_run("the image is made too fast to be stopped on the way, or not in images/"));
    }
    Ok((making, stopped))
}

fn wait_ends(lab: &Lab) -> Result<()> {
    let state = lab.path("slow");
    let (making, stopped) = stopped_halfway(lab, &state)?;
    let mut waiting = lab.sh("echo ran").state(&state).start()?;
    wait_for(SOON, || Ok((waiting.ended()?.is_some() || !waiting.stderr().is_empty()).then_some(())))?;
    if waiting.ended()?.is_some() {
        // This runtime need not wait: each run makes an image of its own.
        waiting.finish()?.succeeds()?.prints("ran\n")?;
    } else if waiting.stderr().is_empty() {
        return Err(waiting
            .differs(format!("a word on stderr within {SOON:?}, while it waits for the image"), "none"));
    } else {
        waiting.signal(Signal::SIGINT);
        if wait_for(SOON, || waiting.ended())?.is_none() {
            return Err(waiting.differs("SIGINT to end it while it waits for the image", "it still runs"));
        }
        let outcome = waiting.finish()?;
        see::same(&outcome.line, "after SIGINT, on stdout", "", outcome.output().as_str())?;
    }
    stopped.iter().for_each(|process| process.signal(Signal::SIGCONT));
    making.finish()?.succeeds()?;
    lab.sh("echo ran").state(&state).finish()?.succeeds()?.prints("ran\n")?;
    Ok(())
}
