//! The commands that list, name and remove images, and tell of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::{load, pull};
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::oci::{Blob, Entry, Image, busybox, index, write_archive};
use crate::trial::outcome::Outcome;
use crate::trial::registry::Registry;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "images-list",
        Images,
        "images lists all, the newest first, in Docker's columns; -q prints ids, and a name chooses.",
        lists,
    ),
    Check::new(
        "images-empty",
        Images,
        "Where there is no image, images prints its columns' names and no more.",
        empty,
    ),
    Check::new("tag", Images, "tag gives an image one more name, which may have been another's.", tags),
    Check::new(
        "tag-refused",
        Images,
        "tag of what is not there, or to what is no name, ends with 1 and changes nothing.",
        tag_refused,
    ),
    Check::new(
        "rmi",
        Images,
        "rmi takes a name away; with the last one the image goes, and what it alone had.",
        removes,
    ),
    Check::new(
        "rmi-id",
        Images,
        "rmi by the id removes the image if it has no second name; -f does all the same.",
        by_id,
    ),
    Check::new(
        "rmi-several",
        Images,
        "rmi removes each that it can, and ends with 1 if there was another.",
        several,
    ),
    Check::new(
        "rmi-in-use",
        Images,
        "rmi refuses an image that a container has, running or ended, until the container is gone.",
        in_use,
    ),
    Check::new("history", Images, "history tells how an image was made, the newest step first.", history),
    Check::new("image-inspect", Images, "inspect tells all of an image, in Docker's words.", inspects),
    Check::new(
        "prune",
        Images,
        "prune takes away what no name and no container leads to, and nothing else.",
        prunes,
    ),
    Check::new("prune-all", Images, "prune -a takes away all images that no container has.", prunes_all),
    Check::new(
        "leftovers-go",
        Images,
        "What a load that was killed has left goes with the next pull, and with the next commit.",
        leftovers,
    ),
    Check::new("df", Images, "df counts images and containers, and tells what they take.", sizes),
];

const NAME: &str = "lab/store:1";

/// An image whose upper layer says this.
fn image(from: &str) -> Result<Image> {
    Image::of(&[busybox()?, vec![Entry::file("from", format!("{from}\n"))]])
}

fn images(lab: &Lab, words: &[&str]) -> Result<Outcome> {
    let outcome = lab.call("images", words).finish()?;
    outcome.succeeds()?;
    Ok(outcome)
}

/// The names that there are, without their heading.
fn names(lab: &Lab) -> Result<Vec<String>> {
    let listed = images(lab, &[])?.output();
    let name = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(":");
    let mut names: Vec<_> = listed.lines().skip(1).map(name).collect();
    names.sort();
    Ok(names)
}

fn lists(lab: &Lab) -> Result<()> {
    let (one, mut two) = (image("one")?, image("two")?);
    two.config["created"] = json!("2011-09-09T01:46:40Z");
    load(lab, &one, NAME)?;
    load(lab, &two, "localhost:5000/deep/er/two")?;
    lab.run(["true"]).finish()?.succeeds()?;
    let outcome = images(lab, &[])?;
    let table = outcome.output();
    let heads = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    let head = table.lines().next().unwrap_or_default();
    let places: Vec<_> = heads.iter().map(|name| head.find(name)).collect();
    if places.contains(&None) || !places.is_sorted() {
        return Err(outcome.differs(format!("the columns {heads:?}")));
    }
    let row = |line: &str| line.split_whitespace().take(3).map(str::to_string).collect::<Vec<_>>();
    let rows: Vec<_> = table.lines().skip(1).map(row).collect();
    let expected = [["localhost:5000/deep/er/two", "latest", &two.id()], ["lab/store", "1", &one.id()]];
    see::same(
        &outcome.line,
        "the first row:",
        "busybox".to_string(),
        rows.first().map_or(String::new(), |row| row[0].clone()),
    )?;
    see::same(
        &outcome.line,
        "the rows below it:",
        expected.map(|row| row.map(str::to_string).to_vec()).to_vec(),
        rows[1..].to_vec(),
    )?;
    if !table.contains("ago") || !table.contains("MB") {
        return Err(outcome.differs("ages, and sizes in MB"));
    }
    let ids = images(lab, &["-q"])?;
    see::same(&ids.line, "lines:", 3, ids.output().lines().count())?;
    images(lab, &["-q", "lab/store"])?.prints(format!("{}\n", one.id()))?;
    images(lab, &["-q", NAME])?.prints(format!("{}\n", one.id()))?;
    images(lab, &["-q", "lab/store:2"])?.prints("")?;
    images(lab, &["-q", "--no-trunc", NAME])?.prints(format!("{}\n", one.config().digest())).map(drop)
}

fn empty(lab: &Lab) -> Result<()> {
    let outcome = images(lab, &[])?;
    see::same(&outcome.line, "lines:", 1, outcome.output().lines().count())?;
    images(lab, &["-q"])?.prints("").map(drop)
}

fn tags(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    load(lab, &image("two")?, "lab/two")?;
    lab.says("tag", [NAME, "localhost:5000/copy:v1"], "")?;
    let read = |name: &str, text: &str| {
        lab.run(["cat", "/from"]).of(name).finish()?.succeeds()?.prints(text).map(drop)
    };
    read("localhost:5000/copy:v1", "one\n")?;
    see::same("tag", "the ids", 2, images(lab, &["-q"])?.output().lines().collect::<BTreeSet<_>>().len())?;
    lab.says("tag", [&image("two")?.id(), NAME], "")?;
    read(NAME, "two\n")?;
    read("localhost:5000/copy:v1", "one\n")?;
    let all = ["lab/store:1", "lab/two:latest", "localhost:5000/copy:v1"].map(str::to_string).to_vec();
    see::same("tag", "the names", all, names(lab)?)
}

fn tag_refused(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    lab.refuses("tag", ["no-such-image", "lab/two"], "no-such-image")?;
    for bad in ["Upper", "a/../b", "", "x:y:z", "lab/two@sha256:0", "a\u{1b}[2J"] {
        let outcome = lab.call("tag", [NAME, bad]).finish()?;
        outcome.refuses(&[1, 125])?;
        if outcome.error().trim_end().contains(char::is_control) {
            return Err(outcome.differs("no control characters on stderr"));
        }
    }
    see::same("tag", "the names", vec![NAME.to_string()], names(lab)?)
}

/// How many bytes the files below a directory have.
pub(super) fn bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    };
    entries.map(size).sum()
}

fn removes(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    let of_one = bytes(&lab.state());
    let big = Image::of(&[busybox()?, vec![Entry::file("big", vec![b'x'; 3_000_000])]])?;
    load(lab, &big, "lab/big")?;
    lab.run(["true"]).of("lab/big").finish()?.succeeds()?;
    lab.says("tag", ["lab/big", "lab/second"], "")?;
    let outcome = lab.call("rmi", ["lab/big"]).finish()?;
    outcome.succeeds()?.prints("Untagged: lab/big:latest\n")?;
    lab.run(["true"]).of("lab/second").finish()?.succeeds()?;
    let outcome = lab.call("rmi", ["lab/second"]).finish()?;
    outcome.succeeds()?;
    let deleted = format!("Deleted: {}", big.config().digest());
    let text = outcome.output();
    if !text.starts_with("Untagged: lab/second:latest\n") || !text.contains(&deleted) {
        return Err(outcome.differs(format!("Untagged: lab/second:latest, and {deleted}")));
    }
    see::same(&outcome.line, "the names", vec![NAME.to_string()], names(lab)?)?;
    // What it shared with another image is still the other's.
    lab.run(["cat", "/from"]).of(NAME).finish()?.succeeds()?.prints("one\n")?;
    let now = bytes(&lab.state());
    if now > of_one + 4_000_000 {
        let saw = format!("{now} bytes, after {of_one} before it came");
        return Err(see::differs(&outcome.line, "its 3 MB to be gone from the state directory", saw));
    }
    lab.refuses("rmi", ["lab/second"], "no such image")
}

fn by_id(lab: &Lab) -> Result<()> {
    let image = image("one")?;
    load(lab, &image, NAME)?;
    lab.call("rmi", [&image.id()]).finish()?.succeeds()?;
    see::same("rmi ID", "the names", Vec::new(), names(lab)?)?;
    load(lab, &image, NAME)?;
    lab.says("tag", [NAME, "lab/second"], "")?;
    let outcome = lab.call("rmi", [&image.id()]).finish()?;
    outcome.refuses(&[1])?;
    see::same(&outcome.line, "the names", 2, names(lab)?.len())?;
    lab.call("rmi", ["-f", &image.id()]).finish()?.succeeds()?;
    see::same("rmi -f ID", "the names", Vec::new(), names(lab)?)
}

fn several(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    load(lab, &image("two")?, "lab/two")?;
    let outcome = lab.call("rmi", [NAME, "no-such-image", "lab/two"]).finish()?;
    outcome.exits(1)?.mentions("no-such-image")?;
    see::same(&outcome.line, "the names", Vec::new(), names(lab)?)
}

fn in_use(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    let one = lab.kept(["sleep", "1000"]).of(NAME).detach()?;
    lab.refuses("rmi", [NAME], one.id())?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    lab.refuses("rmi", [NAME], one.id())?;
    see::same("rmi", "the names", vec![NAME.to_string()], names(lab)?)?;
    // A name that is not the last may go.
    lab.says("tag", [NAME, "lab/second"], "")?;
    lab.call("rmi", ["lab/second"]).finish()?.succeeds()?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    one.becomes("running")?;
    // -f takes the name away, and nothing that the container needs.
    lab.call("rmi", ["-f", NAME]).finish()?.succeeds()?;
    lab.call("prune", ["-f"]).finish()?.succeeds()?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    lab.call("exec", [one.id(), "cat", "/from"]).finish()?.succeeds()?.prints("one\n")?;
    one.remove()?;
    load(lab, &image("one")?, NAME)?;
    lab.call("rmi", [NAME]).finish()?.succeeds().map(drop)
}

fn history(lab: &Lab) -> Result<()> {
    let mut image = image("one")?;
    image.config["history"] = json!([
        {"created": "2001-09-09T01:46:40Z", "created_by": "the first step"},
        {"created": "2001-09-09T01:46:41Z", "created_by": "ENV that has no layer", "empty_layer": true},
        {"created": "2001-09-09T01:46:42Z", "created_by": "the last \u{1b}[2J step", "comment": "a comment"},
    ]);
    load(lab, &image, NAME)?;
    let outcome = lab.call("history", [NAME]).finish()?;
    outcome.succeeds()?;
    let text = outcome.output();
    let heads = ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let rows: Vec<_> = lines.collect();
    let steps = ["step", "ENV that has no layer", "the first step"];
    let right = heads.iter().all(|name| head.contains(name))
        && rows.len() == 3
        && rows.iter().zip(steps).all(|(row, step)| row.contains(step))
        && rows[0].starts_with(&image.id())
        && rows[1].contains(" 0B")
        && rows[0].contains("a comment");
    if !right {
        return Err(outcome.differs(format!("the columns {heads:?} and the steps {steps:?}")));
    }
    if text.contains('\u{1b}') {
        return Err(outcome.differs("no control characters"));
    }
    let ids = lab.call("history", ["-q", "--no-trunc", NAME]).finish()?;
    ids.succeeds()?;
    see::same(
        &ids.line,
        "the first line:",
        Some(image.config().digest()),
        ids.output().lines().next().map(str::to_string),
    )?;
    lab.refuses("history", ["no-such-image"], "no-such-image")
}

fn inspects(lab: &Lab) -> Result<()> {
    let image = image("one")?.says("Env", json!(["PATH=/bin", "COLOUR=green"])).says("Cmd", json!(["sh"]));
    let image = image.says("Labels", json!({"a": "b"})).says("ExposedPorts", json!({"80/tcp": {}}));
    load(lab, &image, NAME)?;
    lab.says("tag", [NAME, "lab/second"], "")?;
    let outcome = lab.call("inspect", [NAME]).finish()?;
    outcome.succeeds()?;
    let all: Value = serde_json::from_slice(&outcome.stdout)?;
    let one = &all[0];
    for (path, expected) in [
        ("/Id", json!(image.config().digest())),
        ("/RepoTags", json!(["lab/second:latest", NAME])),
        ("/Config/Env", json!(["PATH=/bin", "COLOUR=green"])),
        ("/Config/Cmd", json!(["sh"])),
        ("/Config/Labels", json!({"a": "b"})),
        ("/Config/ExposedPorts", json!({"80/tcp": {}})),
        ("/Architecture", image.config["architecture"].clone()),
        ("/Os", json!("linux")),
        ("/RootFS/Type", json!("layers")),
        ("/RootFS/Layers", image.config["rootfs"]["diff_ids"].clone()),
        ("/Created", image.config["created"].clone()),
    ] {
        let saw = one.pointer(path).cloned().unwrap_or_default();
        see::same(&outcome.line, &format!("{path}:"), expected, saw)?;
    }
    // A container's is a container's still, and what names both is the container.
    let kept = lab.kept(["true"]).with(["--name", "lab-second"]).of(NAME).detach()?;
    let inspected = kept.inspected()?;
    see::same("inspect", "/Name of the container:", json!("/lab-second"), inspected["Name"].clone())?;
    see::same(
        "inspect",
        "/Config/Image of the container:",
        json!(NAME),
        inspected["Config"]["Image"].clone(),
    )?;
    let both = lab.call("inspect", ["lab-second", NAME, "nobody"]).finish()?;
    both.exits(1)?.mentions("nobody")?;
    let both: Value = serde_json::from_slice(&both.stdout)?;
    see::same("inspect of three", "what it tells of:", Some(2), both.as_array().map(Vec::len))
}

fn prunes(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    let big = |from: u8| Image::of(&[busybox()?, vec![Entry::file("big", vec![from; 3_000_000])]]);
    load(lab, &big(b'a')?, "lab/big")?;
    let one = lab.kept(["sh", "-c", "head -c 1 /big"]).of("lab/big").detach()?;
    one.exits(0)?;
    load(lab, &big(b'b')?, "lab/big")?; // the first one's name is the second one's now
    load(lab, &big(b'c')?, "lab/big")?; // and that one's the third's
    // One whose documents begin with blanks is an image like others.
    let blanks = image("blanks")?;
    let spaced = |blob: Blob| Blob::new(&blob.kind, [&b" \n".repeat(20), &*blob.bytes].concat());
    let file = lab.path("blanks.tar");
    let blobs: Vec<_> =
        blanks.layers.iter().cloned().chain([blanks.config(), spaced(blanks.manifest())]).collect();
    write_archive(&file, &blobs, &index(&[(&spaced(blanks.manifest()), "lab/blanks:1")]))?;
    lab.call("load", ["-i".as_ref(), file.as_os_str()]).finish()?.succeeds()?;
    let before = bytes(&lab.state());
    let outcome = lab.call("prune", ["-f"]).finish()?;
    outcome.succeeds()?;
    lab.run(["cat", "/from"]).of("lab/blanks:1").finish()?.succeeds()?.prints("blanks\n")?;
    if !outcome.output().contains("reclaimed") {
        return Err(outcome.differs("how much was reclaimed"));
    }
    let now = bytes(&lab.state());
    if now + 3_000_000 > before {
        return Err(
            outcome.differs(format!("3 MB less than the {before} bytes before it, and there are {now}"))
        );
    }
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    one.exits(0)?;
    see::same(one.line(), "what it wrote, started twice:", "aa".to_string(), one.logs()?.output())?;
    lab.run(["head", "-c", "1", "/big"]).of("lab/big").finish()?.succeeds()?.prints("c")?;
    lab.run(["cat", "/from"]).of(NAME).finish()?.succeeds()?.prints("one\n").map(drop)
}

fn prunes_all(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    load(lab, &image("two")?, "lab/two")?;
    let one = lab.kept(["cat", "/from"]).of(NAME).detach()?;
    one.exits(0)?;
    lab.call("prune", ["-a", "-f"]).finish()?.succeeds()?;
    see::same("prune -a", "the names", vec![NAME.to_string()], names(lab)?)?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    one.exits(0)?;
    one.remove()?;
    lab.call("prune", ["-a", "-f"]).finish()?.succeeds()?;
    see::same("prune -a", "the names", Vec::new(), names(lab)?)?;
    if bytes(&lab.state()) > 100_000 {
        let saw = format!("{} bytes", bytes(&lab.state()));
        return Err(see::differs("prune -a of all", "next to nothing in the state directory", saw));
    }
    Ok(())
}

/// Has load read half of an archive, from somebody who takes a rest then, and kills it.
fn kill_a_load(lab: &Lab, name: &str) -> Result<()> {
    lab.runtime_was_killed();
    let large = Image::of(&[vec![Entry::file("large", vec![b'x'; 3_000_000])]])?;
    let (file, pipe) = (lab.path("large.tar"), lab.path(name));
    large.write_archive(&file, "lab/large:1")?;
    mkfifo(&pipe, Mode::S_IRUSR).context("making a FIFO")?;
    // Open for both, it waits for nobody.
    let writer = fs::File::options().read(true).write(true).open(&pipe)?;
    let before = bytes(&lab.state());
    let load = lab.call("load", ["-i".as_ref(), pipe.as_os_str()]).start()?;
    // A thread writes, which a program that doesn't read can't hold up. With the last descriptor it ends.
    let (mut end, half) = (writer.try_clone()?, fs::read(&file)?[..2_000_000].to_vec());
    thread::spawn(move || end.write_all(&half));
    let is_there = || Ok((bytes(&lab.state()) > before + 1_000_000).then_some(()));
    wait_for(SOON, is_there)?
        .ok_or_else(|| load.differs("what it reads to be kept on the disk", "it is not"))?;
    load.signal(Signal::SIGKILL);
    load.finish()?;
    Ok(())
}

fn leftovers(lab: &Lab) -> Result<()> {
    let registry = Registry::open()?;
    let name = registry.put(&pull::image("one")?, "lab/app:1");
    pull::pull(lab, &name)?.finish()?.succeeds()?;
    let one = lab.kept(["true"]).of(&name).detach()?;
    one.exits(0)?;
    let before = bytes(&lab.state());
    let are_gone = |line: &str| {
        let now = bytes(&lab.state());
        if now < before + 1_000_000 {
            return Ok(());
        }
        Err(see::differs(line, format!("about {before} bytes in the state directory"), now))
    };
    kill_a_load(lab, "first")?;
    let next = pull::pull(lab, &registry.put(&pull::image("two")?, "lab/app:2"))?.finish()?;
    next.succeeds()?;
    are_gone(&next.line)?;
    kill_a_load(lab, "second")?;
    let next = lab.call("commit", [one.id()]).finish()?;
    next.succeeds()?;
    are_gone(&next.line)
}

fn sizes(lab: &Lab) -> Result<()> {
    load(lab, &image("one")?, NAME)?;
    load(lab, &image("two")?, "lab/two")?;
    let one =
        lab.kept(["sh", "-c", "head -c 2000000 /dev/zero > /big; exec sleep 1000"]).of(NAME).detach()?;
    let root = one.process()?.file("root/big");
    see::wait_for(see::SOON, || Ok(root.metadata().is_ok_and(|data| data.len() == 2_000_000).then_some(())))?;
    let outcome = lab.call("df", [""; 0]).finish()?;
    outcome.succeeds()?;
    let text = outcome.output();
    let heads = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
    let row = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_string()
    };
    let (of_images, of_containers) = (row("Images"), row("Containers"));
    let counts = |row: &str| row.split_whitespace().take(2).map(str::to_string).collect::<Vec<_>>();
    let right = heads.iter().all(|name| text.contains(name))
        && counts(&of_images) == ["2", "1"]
        && counts(&of_containers) == ["1", "1"]
        && of_containers.contains("2MB");
    if !right {
        return Err(outcome
            .differs(format!("the columns {heads:?}; 2 images, 1 in use; 1 container, running, of 2MB")));
    }
    Ok(())
}
