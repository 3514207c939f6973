//! `build`: an image as a Containerfile says.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;

use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::machine::snapshot::Snapshot;
use crate::see;
use crate::trial::oci::Read;
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "build-from-run",
        Images,
        "build makes an image that has the layers of the FROM, and on top one for each RUN.",
        from_run,
    )
    .exercise("build"),
    Check::new(
        "build-copy",
        Images,
        "COPY copies files and directories, as root's and with their modes, to where its last word says.",
        copy,
    )
    .exercise("build"),
    Check::new(
        "build-copy-confined",
        Images,
        "No COPY reads outside of the directory, by .. or by a link, and none follows a link of the image's out of it.",
        confined,
    )
    .exercise("build"),
    Check::new(
        "build-env-cmd",
        Images,
        "What ENV says holds for each RUN after it and for containers, and CMD is what they run.",
        env_cmd,
    )
    .exercise("build"),
    Check::new(
        "build-cached",
        Images,
        "A second build runs nothing and makes the same image; after a change, only what comes later is run again.",
        cached,
    )
    .exercise("build"),
    Check::new(
        "build-fails",
        Images,
        "A RUN that fails ends the build with 1 and its line's number: no image is made, and no container stays.",
        fails,
    )
    .exercise("build"),
    Check::new(
        "build-bad",
        Images,
        "A Containerfile with a line that is no instruction is refused before anything runs.",
        bad,
    )
    .exercise("build"),
];

const NAME: &str = "lab/built:1";
/// What no two runs print alike.
const ONCE: &str = "cat /proc/sys/kernel/random/uuid";

/// The directory that is built, with this Containerfile.
fn context(lab: &Lab, lines: &[&str]) -> Result<PathBuf> {
    let directory = lab.folder("context")?;
    fs::write(directory.join("Containerfile"), lines.join("\n") + "\n")?;
    Ok(directory)
}

fn build(lab: &Lab, lines: &[&str]) -> Result<Outcome> {
    let directory = context(lab, lines)?;
    lab.call("build", ["-t".as_ref(), NAME.as_ref(), directory.as_os_str()]).finish()
}

/// Builds it, and returns the image's id: the last line on stdout.
fn built(lab: &Lab, lines: &[&str]) -> Result<String> {
    let outcome = build(lab, lines)?;
    outcome.exits(0)?;
    let id = outcome.output().lines().last().unwrap_or_default().to_string();
    let is_id = id.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64);
    if is_id {
        Ok(id)
    } else {
        Err(outcome.differs("the image's id, sha256:…, as the last line on stdout"))
    }
}

fn shows(lab: &Lab, script: &str, text: &str) -> Result<()> {
    lab.sh(script).of(NAME).finish()?.succeeds()?.prints(text).map(drop)
}

fn is_not_there(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--pull", "never"]).of(NAME).finish()?.refuses(&[125]).map(drop)
}

/// The digests of an image's layers.
fn layers(lab: &Lab, name: &str) -> Result<Vec<String>> {
    let saved = lab.call("save", [name]).finish()?;
    saved.exits(0)?;
    Ok(Read::archive(&saved.stdout)?.image()?.layers.iter().map(|layer| layer.digest()).collect())
}

fn from_run(lab: &Lab) -> Result<()> {
    let lines = [
        "# the image that everybody has",
        "FROM busybox",
        "",
        "RUN echo one > /one && \\",
        "    chmod 640 /one",
        "RUN [\"sh\", \"-c\", \"cat /one > /two; rm -r /home; id -u >> /two\"]",
    ];
    let id = built(lab, &lines)?;
    let script = "cat /one /two; stat -c %a /one; [ -e /home ] || echo gone";
    shows(lab, script, "one\none\n0\n640\ngone\n")?;
    lab.sh(script).of(&id).finish()?.succeeds()?;
    lab.sh("[ -d /home ] && ls /one").finish()?.exits(1)?; // busybox is what it was
    let (base, new) = (layers(lab, "busybox")?, layers(lab, NAME)?);
    see::same("build and save", "how many layers:", base.len() + 2, new.len())?;
    see::same("build and save", "the lowest:", &base[..], &new[..base.len()])
}

fn copy(lab: &Lab) -> Result<()> {
    let directory = context(lab, &[])?;
    fs::create_dir_all(directory.join("tree/sub"))?;
    for (name, mode) in [("one", 0o640), ("tree/two", 0o755), ("tree/sub/three", 0o600)] {
        fs::write(directory.join(name), format!("{name}\n"))?;
        fs::set_permissions(directory.join(name), Permissions::from_mode(mode))?;
        chown(directory.join(name), Some(1234), Some(1234))?;
    }
    symlink("sub/three", directory.join("tree/link"))?;
    let lines = [
        "FROM busybox",
        "COPY one /new/deep/name",
        "COPY one /srv/",
        "COPY one /etc",
        "COPY tree /app",
        "COPY tree /tmp",
        "COPY . /all/",
        "RUN rm /all/one",
    ];
    built(lab, &lines)?;
    let script = "cat /new/deep/name /srv/one /etc/one /app/two /app/sub/three /app/link /tmp/two /all/tree/two; \
        stat -c '%a %u:%g' /srv/one /app/two /app/sub/three; readlink /app/link; [ -e /all/one ] || echo gone; \
        ls -d /etc/passwd; stat -c %a /tmp";
    let text = "one\none\none\ntree/two\ntree/sub/three\ntree/sub/three\ntree/two\ntree/two\n\
        640 0:0\n755 0:0\n600 0:0\nsub/three\ngone\n/etc/passwd\n1777\n";
    shows(lab, script, text)
}

fn confined(lab: &Lab) -> Result<()> {
    let directory = context(lab, &[])?;
    let outside = lab.folder("outside")?;
    fs::write(outside.join("secret"), "secret\n")?;
    fs::write(directory.join("one"), "one\n")?;
    fs::create_dir(directory.join("tree"))?;
    symlink(outside.join("secret"), directory.join("link"))?;
    symlink("../outside/secret", directory.join("up"))?;
    symlink(&outside, directory.join("way"))?;
    symlink(outside.join("secret"), directory.join("tree/link"))?;
    built(lab, &["FROM busybox", "COPY one /one"])?; // else everything would be refused
    for source in
        ["../outside/secret", "tree/../../outside/secret", "link", "up", "way/secret", "way", "nothing"]
    {
        build(lab, &["FROM busybox", &format!("COPY {source} /copied")])?.exits(1)?.mentions("line 2")?;
    }
    // In a directory that is copied, it is a link in the image, which leads to nothing there.
    built(lab, &["FROM busybox", "COPY tree /tree"])?;
    let script = "readlink /tree/link; cat /tree/link 2> /dev/null || echo nothing";
    shows(lab, script, &format!("{}\nnothing\n", outside.join("secret").display()))?;
    let before = Snapshot::of(&outside)?;
    for to in ["/out/one", "/out/", "/out"] {
        let link = format!("RUN ln -s {} /out", outside.display());
        let outcome = build(lab, &["FROM busybox", &link, &format!("COPY one {to}")])?;
        if !outcome.status.success() {
            outcome.exits(1)?.mentions("line 3")?; // it may be refused, or be a file of the image's
        }
        before.still(&outcome.line)?;
    }
    Ok(())
}

fn env_cmd(lab: &Lab) -> Result<()> {
    let lines = [
        "FROM busybox",
        "RUN echo \"before: $COLOUR\" > /seen",
        "ENV COLOUR=green SHAPE=\"very round\"",
        "RUN echo \"after: $COLOUR\" >> /seen",
        "ENV COLOUR=blue",
        "CMD [\"echo\", \"replaced\"]",
        "CMD cat /seen; echo \"$COLOUR, $SHAPE\"",
    ];
    built(lab, &lines)?;
    let run = lab.run([""; 0]).of(NAME).finish()?;
    run.succeeds()?.prints("before: \nafter: green\nblue, very round\n")?;
    lab.run(["echo", "typed"]).of(NAME).finish()?.succeeds()?.prints("typed\n")?;
    // What an image says holds for one that is made of it.
    lab.call("tag", [NAME, "lab/base"]).finish()?.succeeds()?;
    built(lab, &["FROM lab/base", "RUN echo $COLOUR > /again", "CMD [\"cat\", \"/again\"]"])?;
    lab.run([""; 0]).of(NAME).finish()?.succeeds()?.prints("blue\n").map(drop)
}

fn cached(lab: &Lab) -> Result<()> {
    let directory = context(lab, &[])?;
    let make = |colour: &str| -> Result<(String, String, String)> {
        let (first, second) = (format!("RUN {ONCE} > /first"), format!("RUN {ONCE} > /second"));
        let env = format!("ENV COLOUR={colour}");
        let id = built(lab, &["FROM busybox", &first, &env, "COPY data /data", &second])?;
        let read = |path| -> Result<String> {
            let outcome = lab.run(["cat", path]).of(NAME).finish()?;
            outcome.succeeds()?;
            Ok(outcome.output())
        };
        Ok((id, read("/first")?, read("/second")?))
    };
    let write = |text: &str| fs::write(directory.join("data"), text);
    write("one\n")?;
    let one = make("green")?;
    see::same("build, and again", "the id, and what each RUN wrote:", &one, &make("green")?)?;
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(directory.join("data"))?.set_modified(long_ago)?;
    see::same("build, with a file of another time", "the id and so on:", &one, &make("green")?)?;
    write("two\n")?;
    let two = make("green")?;
    see::same("build, with another file", "what the RUN before its COPY wrote:", &one.1, &two.1)?;
    see::same("build, with another file", "the RUN after its COPY wrote the same:", false, one.2 == two.2)?;
    shows(lab, "cat /data", "two\n")?;
    let three = make("blue")?;
    see::same("build, with another ENV", "what the RUN before it wrote:", &one.1, &three.1)?;
    see::same("build, with another ENV", "the RUN after it wrote the same:", false, two.2 == three.2)
}

fn fails(lab: &Lab) -> Result<()> {
    let lines = ["FROM busybox", "RUN echo x > /x", "RUN exit $((6*7))", "RUN touch /never"];
    build(lab, &lines)?.exits(1)?.mentions("line 3")?.mentions("42")?;
    is_not_there(lab)?;
    build(lab, &["FROM busybox", "", "RUN [\"/no/such/program\"]"])?.exits(1)?.mentions("line 3")?;
    is_not_there(lab)?;
    build(lab, &["FROM lab/nothing", "RUN true"])?.exits(1)?.mentions("lab/nothing")?;
    is_not_there(lab)?;
    lab.says("ps", ["-a", "-q"], "")?;
    // And the name stays with whom it was.
    let id = built(lab, &["FROM busybox", "RUN echo old > /old"])?;
    build(lab, &["FROM busybox", "RUN echo new > /old", "RUN false"])?.exits(1)?.mentions("line 3")?;
    shows(lab, "cat /old", "old\n")?;
    lab.sh("cat /old").of(&id).finish()?.succeeds()?.prints("old\n").map(drop)
}

fn bad(lab: &Lab) -> Result<()> {
    for line in ["FLY away", "RUN", "ENV", "FROM busybox"] {
        let outcome = build(lab, &["FROM busybox", "RUN echo said", line])?;
        outcome.refuses(&[1])?.mentions("line 3")?;
        is_not_there(lab)?;
    }
    build(lab, &["RUN echo said"])?.refuses(&[1])?.mentions("FROM")?;
    let nowhere = lab.folder("empty")?;
    lab.call("build", [&nowhere]).finish()?.refuses(&[1])?.mentions("Containerfile")?;
    built(lab, &["FROM busybox", "RUN echo said"]).map(drop) // else everything would be refused
}
