//! `diff` and `commit`: what a container has changed, and an image made of it.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::load;
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::oci::{Entry, Image, Read, busybox};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "diff",
        Images,
        "diff tells what a container has added, changed and deleted, running or ended.",
        differences,
    ),
    Check::new(
        "diff-nothing",
        Images,
        "diff of a container that has changed nothing prints nothing.",
        nothing,
    ),
    Check::new(
        "commit",
        Images,
        "commit makes an image of a container's changes over its image's layers, whatever kinds of files they are.",
        commits,
    ),
    Check::new(
        "commit-deleted",
        Images,
        "What a container has deleted or put in a directory's place is so in the committed image.",
        deleted,
    ),
    Check::new(
        "commit-layers",
        Images,
        "A committed image has the layers of the first, byte for byte, and one more, with nothing but the changes.",
        layers,
    ),
    Check::new(
        "commit-volume",
        Images,
        "Nothing of a volume, of a directory in memory, or of /proc and /dev comes into a committed image.",
        volumes,
    ),
    Check::new(
        "commit-config",
        Images,
        "What the image says of its containers holds for the committed one, and --change changes it.",
        config,
    ),
    Check::new(
        "commit-container",
        Images,
        "A committed image runs what its container ran: command, entry point, variables, directory and user.",
        container,
    ),
    Check::new(
        "commit-change-bad",
        Images,
        "commit with a --change that is none ends with 1, and makes no image.",
        bad,
    ),
    Check::new(
        "commit-running",
        Images,
        "A container that runs stands still while it is committed, and goes on afterwards.",
        running,
    ),
    Check::new(
        "commit-nameless",
        Images,
        "commit without a name prints the image's id, which is enough to run it.",
        nameless,
    ),
];

const NAME: &str = "lab/commit:1";
const NEW: &str = "lab/committed:1";

fn loaded(lab: &Lab) -> Result<Image> {
    let layer = vec![
        Entry::file("file", "of the image\n"),
        Entry::directory("d/"),
        Entry::file("d/one", "1\n"),
        Entry::file("d/two", "2\n"),
        Entry::directory("tree/"),
        Entry::file("tree/leaf", "x"),
        Entry::directory("proc/"),
        Entry::directory("dev/"),
        Entry::directory("sys/"),
    ];
    let image = Image::of(&[busybox()?, layer])?.zipped()?;
    let image = image.says("Env", json!(["PATH=/bin", "COLOUR=green"])).says("Cmd", json!(["cat", "/file"]));
    load(lab, &image, NAME)?;
    Ok(image)
}

/// A container that has run this to its end.
fn ended<'a>(lab: &'a Lab, script: &str) -> Result<Kept<'a>> {
    let one = lab.kept(["sh", "-c", script]).of(NAME).detach()?;
    one.exits(0)?;
    Ok(one)
}

fn commit(lab: &Lab, words: &[&str]) -> Result<String> {
    let outcome = lab.call("commit", words).finish()?;
    outcome.succeeds()?;
    let id = outcome.output().trim_end().to_string();
    if id.len() == 71 && id.starts_with("sha256:") {
        return Ok(id);
    }
    Err(outcome.differs("sha256: and 64 hexadecimal digits"))
}

fn shows(lab: &Lab, image: &str, script: &str, text: &str) -> Result<()> {
    lab.sh(script).of(image).finish()?.succeeds()?.prints(text).map(drop)
}

fn differences(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let script = "echo x > /new; mkdir -p /deep/er; echo x > /deep/er/file; echo more >> /file; rm /d/one; chmod 700 /d/two; rm -r /tree; ln -s nowhere /tmp/link";
    let expected = [
        "A /new",
        "A /deep",
        "A /deep/er",
        "A /deep/er/file",
        "C /file",
        "C /d",
        "D /d/one",
        "C /d/two",
        "D /tree",
        "C /tmp",
        "A /tmp/link",
    ];
    let expected: BTreeSet<_> = expected.map(str::to_string).into();
    let told = |id: &str| -> Result<()> {
        let outcome = lab.call("diff", [id]).finish()?;
        outcome.succeeds()?;
        let lines: BTreeSet<_> = outcome.output().lines().map(str::to_string).collect();
        see::same(&outcome.line, "its lines", &expected, &lines)
    };
    told(ended(lab, script)?.id())?;
    let one = lab.kept(["sh", "-c", &format!("{script}; echo ready; exec sleep 1000")]).of(NAME).detach()?;
    one.wrote("ready\n")?;
    told(one.id())?;
    lab.refuses("diff", ["nobody"], "nobody")
}

fn nothing(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let data = lab.folder("data")?;
    fs::write(data.join("file"), "of the host\n")?;
    let volume = format!("{}:/tmp", data.display());
    let one =
        lab.kept(["sh", "-c", "cat /file /tmp/file; ls -R / > /dev/null; touch /tmp/new /home/in-memory"]);
    let one = one.with(["-v", &volume, "--tmpfs", "/home"]).of(NAME).detach()?;
    one.exits(0)?;
    lab.says("diff", [one.id()], "")
}

fn commits(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let script = "cd /tmp; echo x > plain; chown 12:34 plain; chmod 4751 plain; ln plain hard; ln -s plain link; mkfifo pipe; mknod null c 1 3; \
        mkdir -m 1777 shared; echo y > shared/in; touch -d '2001-09-09 01:46:40' shared; echo changed > /file; \
        mkdir -p $(yes long-name-of-a-directory | head -n 12 | tr '\\n' /); echo z > \"$(printf 'two\\nlines')\"";
    let one = ended(lab, script)?;
    commit(lab, &[one.id(), NEW])?;
    let script = "cd /tmp; stat -c '%n %F %a %u:%g %t:%T %h' plain link pipe null shared; [ plain -ef hard ] && echo same; \
        stat -c %Y shared; cat shared/in /file two*; [ -d long-name*/long-name*/long-name* ] && echo long; cat /d/one";
    let text = "plain regular file 4751 12:34 0:0 2\nlink symbolic link 777 0:0 0:0 1\npipe fifo 644 0:0 0:0 1\n\
        null character special file 644 0:0 1:3 1\nshared directory 1777 0:0 0:0 2\nsame\n1000000000\ny\nchanged\nz\nlong\n1\n";
    shows(lab, NEW, script, text)?;
    // From this machine's files to another's, and back.
    let saved = lab.call("save", [NEW]).finish()?;
    saved.exits(0)?;
    let other = lab.path("other-state");
    lab.call("load", [""; 0]).input(saved.stdout).state(&other).finish()?.succeeds()?;
    lab.sh(script).of(NEW).state(&other).finish()?.succeeds()?.prints(text).map(drop)
}

fn deleted(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let script = "rm /d/one; rm -r /tree; mkdir /tree; echo new > /tree/other; rm /file; mkdir /file; rm -r /home; echo x > /home";
    let one = ended(lab, script)?;
    commit(lab, &[one.id(), NEW])?;
    let look = "ls /d /tree /file; cat /home; find / -xdev -name '.wh.*'";
    shows(lab, NEW, look, "/d:\ntwo\n\n/file:\n\n/tree:\nother\nx\n")?;
    // And over that image once more.
    let two = lab
        .kept(["sh", "-c", "rm -r /d; rmdir /file; echo back > /file; echo leaf > /tree/leaf"])
        .of(NEW)
        .detach()?;
    two.exits(0)?;
    commit(lab, &[two.id(), "lab/third"])?;
    shows(lab, "lab/third", "[ -e /d ] || echo gone; cat /file /tree/*", "gone\nback\nleaf\nnew\n")
}

fn layers(lab: &Lab) -> Result<()> {
    let image = loaded(lab)?;
    let one = ended(lab, "echo new > /new; rm /d/one")?;
    let id = commit(lab, &["-m", "a message", "-a", "an author", one.id(), NEW])?;
    let saved = lab.call("save", [NEW]).finish()?;
    saved.exits(0)?;
    let whole = Read::archive(&saved.stdout)?.image()?;
    see::same(&saved.line, "how many layers:", 3, whole.layers.len())?;
    let digests =
        |layers: &[crate::trial::oci::Blob]| layers.iter().map(|layer| layer.digest()).collect::<Vec<_>>();
    see::same(&saved.line, "the two lower layers:", digests(&image.layers), digests(&whole.layers[..2]))?;
    let ids = &whole.config["rootfs"]["diff_ids"];
    see::same(&saved.line, "how many diff_ids:", Some(3), ids.as_array().map(Vec::len))?;
    let steps = whole.config["history"].as_array().cloned().unwrap_or_default();
    let last = steps.last().cloned().unwrap_or_default();
    see::same(&saved.line, "how many steps in the history:", 3, steps.len())?;
    see::same(&saved.line, "the last step's comment:", json!("a message"), last["comment"].clone())?;
    see::same(&saved.line, "the author:", json!("an author"), whole.config["author"].clone())?;
    let inspected = lab.call("inspect", [NEW]).finish()?;
    let inspected: Value = serde_json::from_slice(&inspected.stdout)?;
    see::same("inspect", "/Id:", json!(id), inspected[0]["Id"].clone())?;
    // Nobody can have got at what the new layer has but by its own names.
    let smaller = whole.layers[2].bytes.len();
    if smaller > 20_000 {
        return Err(saved.differs(format!("a layer of two small files, and it has {smaller} bytes")));
    }
    Ok(())
}

fn volumes(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let data = lab.folder("data")?;
    fs::write(data.join("secret"), "of the host\n")?;
    let volume = format!("{}:/d", data.display());
    let inner = format!("{}:/made/by/volume", data.display());
    let script = "echo x > /d/written; echo y > /home/in-memory; echo z > /dev/shm/in-memory; touch /dev/new; echo w > /new; exec sleep 1000";
    let one = lab.kept(["sh", "-c", script]).with(["-v", &volume, "-v", &inner, "--tmpfs", "/home"]).of(NAME);
    let one = one.detach()?;
    let root = one.process()?.file("root/new");
    wait_for(SOON, || Ok(root.exists().then_some(())))?;
    commit(lab, &[one.id(), NEW])?;
    let look = "cat /new; ls /d /home /made/by/volume; find / -xdev -name secret -o -xdev -name written -o -xdev -name in-memory";
    shows(lab, NEW, look, "w\n/d:\none\ntwo\n\n/home:\nanna\n\n/made/by/volume:\n")?;
    let saved = lab.call("save", [NEW]).finish()?;
    let whole = Read::archive(&saved.stdout)?.image()?;
    let bytes: Vec<u8> = whole.layers.last().map(|layer| layer.bytes.clone()).unwrap_or_default();
    see::same(&saved.line, "a layer of few bytes:", true, bytes.len() < 20_000)
}

fn config(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let one = ended(lab, "mkdir -p /app; echo x > /app/new")?;
    commit(lab, &[one.id(), NEW])?;
    shows(lab, NEW, "echo $COLOUR", "green\n")?;
    let changes = [
        "CMD [\"sh\", \"-c\", \"echo $COLOUR $SHAPE; pwd; id -un\"]",
        "ENV COLOUR=blue SHAPE=round",
        "WORKDIR /app",
        "USER anna",
        "LABEL a=b",
        "STOPSIGNAL SIGUSR1",
    ];
    let mut words: Vec<_> = changes.iter().flat_map(|change| ["--change", *change]).collect();
    words.extend([one.id(), "lab/changed"]);
    commit(lab, &words)?;
    lab.run([""; 0]).of("lab/changed").finish()?.succeeds()?.prints("blue round\n/app\nanna\n")?;
    commit(
        lab,
        &["-c", "ENTRYPOINT [\"echo\", \"begins\"]", "-c", "CMD words of a shell", one.id(), "lab/entry"],
    )?;
    let run = lab.run(["ends"]).of("lab/entry").finish()?;
    run.succeeds()?.prints("begins ends\n").map(drop)
}

fn container(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let script = "echo $COLOUR $SHAPE; pwd; id -un; echo $HOME; [ $HOSTNAME = $(hostname) ] && echo own name";
    let options = ["-e", "COLOUR=blue", "-e", "SHAPE=two words", "-w", "/d", "-u", "anna"];
    let one = lab.kept(["sh", "-c", script]).with(options).of(NAME).detach()?;
    one.exits(0)?;
    let runs = |image: &str, words: &[&str], text: &str| {
        lab.run(words).of(image).finish()?.succeeds()?.prints(text).map(drop)
    };
    commit(lab, &[one.id(), NEW])?;
    runs(NEW, &[], "blue two words\n/d\nanna\n/home/anna\nown name\n")?;
    runs(NEW, &["sh", "-c", "echo $COLOUR; pwd"], "blue\n/d\n")?;
    // What is said now comes over that.
    let changes = ["-c", "ENV COLOUR=red", "-c", "USER root", "-c", "WORKDIR /tmp"];
    commit(lab, &[&changes[..], &[one.id(), "lab/changed"]].concat())?;
    runs("lab/changed", &[], "red two words\n/tmp\nroot\n/root\nown name\n")?;
    let two = lab.kept(["begins"]).with(["--entrypoint", "echo"]).of(NAME).detach()?;
    two.exits(0)?;
    commit(lab, &[two.id(), "lab/entry"])?;
    runs("lab/entry", &[], "begins\n")?;
    runs("lab/entry", &["ends"], "ends\n")
}

fn bad(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let one = ended(lab, "echo new > /new")?;
    for change in ["RUN true", "COLOUR=blue", "", "ENV", "STOPSIGNAL NOSUCH"] {
        let outcome = lab.call("commit", ["--change", change, one.id(), NEW]).finish()?;
        outcome.refuses(&[1, 125])?;
    }
    lab.refuses("commit", ["nobody", NEW], "nobody")?;
    lab.refuses("commit", [one.id(), "Bad/Name"], "Bad/Name")?;
    lab.kept(["true"]).with(["--pull", "never"]).of(NEW).finish()?.refuses(&[125]).map(drop)
}

fn running(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    // The two files are never the same for long, and never differ by more than one.
    let script = "n=0; while :; do n=$((n+1)); echo $n > /one.new; mv /one.new /one; echo $n > /two.new; mv /two.new /two; echo $n; done";
    let one = lab.kept(["sh", "-c", script]).of(NAME).detach()?;
    one.wrote("5\n")?;
    for _ in 0..5 {
        commit(lab, &[one.id(), NEW])?;
        let look = "a=$(cat /one) && b=$(cat /two) && [ $((a-b)) -le 1 ] && [ $((a-b)) -ge 0 ] && echo whole || echo $a $b";
        shows(lab, NEW, look, "whole\n")?;
        see::same(one.line(), "its state after commit", "running".to_string(), one.state()?)?;
        let lines = one.logs()?.output().lines().count();
        let more = || Ok((one.logs()?.output().lines().count() > lines).then_some(()));
        wait_for(SOON, more)?
            .ok_or_else(|| one.differs("a container that goes on after commit", "it stands still"))?;
    }
    Ok(())
}

fn nameless(lab: &Lab) -> Result<()> {
    loaded(lab)?;
    let one = ended(lab, "echo new > /new")?;
    let id = commit(lab, &[one.id()])?;
    shows(lab, &id, "cat /new", "new\n")?;
    shows(lab, &id[7..19], "cat /new", "new\n")?;
    one.remove()?;
    lab.call("prune", ["-f"]).finish()?.succeeds()?;
    lab.kept(["true"]).with(["--pull", "never"]).of(&id).finish()?.refuses(&[125]).map(drop)
}
