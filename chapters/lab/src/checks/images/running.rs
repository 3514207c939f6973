//! `run IMAGE`: the image's files, and what its config says of its containers.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::load;
use super::store::bytes;
use crate::chapter::Chapter::Images;
use crate::checks::check::Check;
use crate::checks::lifecycle::attach::{CTRL_P, CTRL_Q};
use crate::see;
use crate::trial::oci::{Entry, Image, busybox};
use crate::trial::runtime::Lab;
use crate::trial::terminal::Terminal;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "image-command",
        Images,
        "run IMAGE runs the image's Cmd, and words after IMAGE run in its place, in the image's files.",
        command,
    ),
    Check::new(
        "image-entrypoint",
        Images,
        "Cmd, or what is typed in its place, goes to the image's Entrypoint; --entrypoint replaces both.",
        entrypoint,
    ),
    Check::new(
        "image-no-command",
        Images,
        "An image that has no command, and none typed either, is refused with 125.",
        no_command,
    ),
    Check::new(
        "image-env",
        Images,
        "The image's Env is the container's, over the usual PATH and HOME, and below what -e says.",
        environment,
    ),
    Check::new(
        "image-workdir",
        Images,
        "The image's WorkingDir is where the command begins, made if it is not there; -w says another.",
        workdir,
    ),
    Check::new(
        "image-user",
        Images,
        "The image's User, a name of the image's own, is the command's; -u says another.",
        user,
    ),
    Check::new(
        "image-stop-signal",
        Images,
        "stop sends the image's StopSignal; --stop-signal says another.",
        stop_signal,
    ),
    Check::new(
        "image-defaults-kept",
        Images,
        "What the image says holds for exec, and when the container is started again.",
        kept,
    ),
    Check::new(
        "image-volumes",
        Images,
        "A path of the image's Volumes is one for each container, with the image's data; it lives as long as the container.",
        volumes,
    ),
    Check::new(
        "image-busybox",
        Images,
        "busybox is an image like others, made from the host's, without any network.",
        made_from_host,
    ),
    Check::new(
        "image-unknown",
        Images,
        "An image that is not there and cannot be had is refused with 125 and its name, and nothing stays.",
        unknown,
    ),
    Check::new(
        "image-bad-name",
        Images,
        "What cannot be the name of an image is refused with 125 before anything is asked for.",
        bad_names,
    ),
    Check::new(
        "image-names",
        Images,
        "An image is found by each of its names, its id, and the digest of its manifest, or some digits of them.",
        names,
    ),
    Check::new(
        "image-shared",
        Images,
        "Containers of one image see its layers as one tree, which is there once, and nothing of each other's writing.",
        shared,
    ),
    Check::new("image-many-layers", Images, "An image can have 300 layers.", many_layers),
    Check::new(
        "image-stays-for-container",
        Images,
        "A container keeps the files that it began with when its image's name comes to mean another image.",
        stays,
    ),
];

/// The name that most of the checks give to their image.
const NAME: &str = "lab/one:1";

/// The image's own file, over busybox.
fn image() -> Result<Image> {
    Image::of(&[busybox()?, vec![Entry::file("from", "the image\n")]])
}

fn prints(lab: &Lab, options: &[&str], words: &[&str], text: &str) -> Result<()> {
    lab.run(words).with(options).of(NAME).finish()?.succeeds()?.prints(text).map(drop)
}

fn command(lab: &Lab) -> Result<()> {
    load(lab, &image()?.says("Cmd", json!(["cat", "/from"])), NAME)?;
    prints(lab, &[], &[], "the image\n")?;
    prints(lab, &[], &["echo", "another", "-t", "--rm"], "another -t --rm\n")?;
    prints(lab, &["--hostname", "inner"], &["hostname"], "inner\n")?;
    lab.run(["no-such-command"]).of(NAME).finish()?.refuses(&[127]).map(drop)
}

fn entrypoint(lab: &Lab) -> Result<()> {
    let image = image()?.says("Entrypoint", json!(["echo", "begins"])).says("Cmd", json!(["ends", "so"]));
    load(lab, &image, NAME)?;
    prints(lab, &[], &[], "begins ends so\n")?;
    prints(lab, &[], &["otherwise"], "begins otherwise\n")?;
    prints(lab, &["--entrypoint", "hostname", "--hostname", "inner"], &[], "inner\n")?;
    prints(lab, &["--entrypoint", "cat"], &["/from"], "the image\n")?;
    prints(lab, &["--entrypoint", ""], &["echo", "none"], "none\n")
}

fn no_command(lab: &Lab) -> Result<()> {
    load(lab, &image()?, NAME)?;
    lab.run([""; 0]).of(NAME).finish()?.refuses(&[125])?.mentions("command")?;
    load(lab, &image()?.says("Cmd", json!(["echo", "of the image"])), "lab/two:1")?;
    // With another entrypoint the image's Cmd does not count, so there is nothing left.
    lab.run([""; 0]).with(["--entrypoint", ""]).of("lab/two:1").finish()?.refuses(&[125]).map(drop)
}

fn environment(lab: &Lab) -> Result<()> {
    let variables = json!(["PATH=/own:/bin", "COLOUR=green", "EMPTY=", "TWO=a=b"]);
    load(lab, &image()?.says("Env", variables), NAME)?;
    let script = "echo $PATH $HOME $HOSTNAME $COLOUR $TWO ${EMPTY-unset}.";
    let words = ["sh", "-c", script];
    prints(lab, &["--hostname", "inner"], &words, "/own:/bin /root inner green a=b .\n")?;
    let options = ["-e", "COLOUR=blue", "--hostname", "inner", "-e", "PATH=/bin"];
    prints(lab, &options, &words, "/bin /root inner blue a=b .\n")
}

fn workdir(lab: &Lab) -> Result<()> {
    load(lab, &image()?.says("WorkingDir", json!("/not/there")), NAME)?;
    prints(lab, &[], &["pwd"], "/not/there\n")?;
    prints(lab, &["-w", "/etc"], &["pwd"], "/etc\n")?;
    // A command by a relative path begins there, too.
    let image = Image::of(&[busybox()?, vec![Entry::file("app/go", "#!/bin/sh\npwd\n").mode(0o755)]])?;
    load(lab, &image.says("WorkingDir", json!("/app")).says("Cmd", json!(["./go"])), NAME)?;
    prints(lab, &[], &[], "/app\n")
}

fn user(lab: &Lab) -> Result<()> {
    load(lab, &image()?.says("User", json!("anna")), NAME)?;
    let words = ["sh", "-c", "id -un; id -gn; echo $HOME"];
    prints(lab, &[], &words, "anna\nanna\n/home/anna\n")?;
    prints(lab, &["-u", "0"], &words, "root\nroot\n/root\n")?;
    load(lab, &image()?.says("User", json!("1234:29")), NAME)?;
    prints(lab, &[], &["sh", "-c", "id -u; id -g"], "1234\n29\n")?;
    load(lab, &image()?.says("User", json!("nobody-there")), NAME)?;
    lab.run(["id"]).of(NAME).finish()?.refuses(&[125])?.mentions("nobody-there").map(drop)
}

fn stop_signal(lab: &Lab) -> Result<()> {
    load(lab, &image()?.says("StopSignal", json!("SIGUSR1")), NAME)?;
    let script = "trap 'echo one; exit 3' USR1; trap 'echo two; exit 4' USR2; echo ready; while :; do sleep 0.05; done";
    for (options, status) in [(&[][..], 3), (&["--stop-signal", "USR2"], 4)] {
        let one = lab.kept(["sh", "-c", script]).with(options).of(NAME).detach()?;
        one.wrote("ready\n")?;
        lab.says("stop", [one.id()], &format!("{}\n", one.id()))?;
        one.exits(status)?;
    }
    Ok(())
}

fn kept(lab: &Lab) -> Result<()> {
    let image = image()?.says("Env", json!(["PATH=/bin", "COLOUR=green"])).says("WorkingDir", json!("/app"));
    let image =
        image.says("User", json!("anna")).says("Cmd", json!(["sh", "-c", "id -un; echo $COLOUR; pwd"]));
    load(lab, &image, NAME)?;
    let one = lab.kept([""; 0]).with(["--name", "one"]).of(NAME).detach()?;
    one.exits(0)?;
    lab.says("start", ["one"], "one\n")?;
    one.exits(0)?;
    let text = "anna\ngreen\n/app\n";
    see::same(one.line(), "what it wrote, started twice:", text.repeat(2), one.logs()?.output())?;
    let two = lab.kept(["sleep", "1000"]).of(NAME).detach()?;
    let words = [two.id(), "sh", "-c", "id -un; echo $COLOUR; pwd"];
    lab.call("exec", words).finish()?.succeeds()?.prints(text).map(drop)
}

fn volumes(lab: &Lab) -> Result<()> {
    let data = vec![Entry::directory("data/"), Entry::file("data/file", "of the image\n")];
    let image = Image::of(&[busybox()?, data])?;
    let image = image.says("Volumes", json!({"/data": {}, "/data/": {}, "/other": {}}));
    load(lab, &image, NAME)?;
    let run = |words: &[&str]| lab.run(words).with(["--pull", "never"]).of(NAME);
    run(&["cat", "/data/file"]).finish()?.succeeds()?.prints("of the image\n")?; // what is made only once is made now
    let before = bytes(&lab.state());
    let is_gone = |did: &str| see::same(did, "bytes in the state directory:", before, bytes(&lab.state()));
    let script = "echo changed > /data/file; head -c 100000 /dev/zero > /other/zeros; cat /data/file";
    run(&["sh", "-c", script]).finish()?.succeeds()?.prints("changed\n")?;
    is_gone("run --rm")?;
    run(&["cat", "/data/file"]).finish()?.succeeds()?.prints("of the image\n")?;
    run(&["ls", "-A", "/data"]).with(["--tmpfs", "/data"]).finish()?.succeeds()?.prints("")?;
    let one = lab
        .kept(["sh", "-c", "cat /data/file; echo mine > /data/file"])
        .with(["--name", "one"])
        .of(NAME)
        .detach()?;
    one.exits(0)?;
    lab.says("start", ["one"], "one\n")?;
    one.wrote("of the image\nmine\n")?;
    one.exits(0)?; // what is kept of one that runs is more
    let kept = bytes(&lab.state());
    let refused = lab.kept(["true"]).with(["--name", "one"]).of(NAME).finish()?;
    refused.refuses(&[125])?;
    see::same(&refused.line, "bytes in the state directory:", kept, bytes(&lab.state()))?;
    one.remove()?;
    // Whoever leaves a container leaves it its data.
    let script = format!("\"$RUNTIME\" run -it --rm --name two --pull never {NAME} sh; echo \"status $?\"");
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.shows("# ")?;
    terminal.types("echo kept > /data/file; echo \"it is $((6 * 7))\"\n")?;
    terminal.shows("it is 42")?;
    terminal.types(&format!("{CTRL_P}{CTRL_Q}"))?;
    terminal.shows("status 0")?;
    lab.says("exec", ["two", "cat", "/data/file"], "kept\n")?;
    lab.says("rm", ["-f", "two"], "two\n")
}

fn made_from_host(lab: &Lab) -> Result<()> {
    lab.run(["echo", "first"]).finish()?.succeeds()?.prints("first\n")?;
    for name in ["busybox", "busybox:latest", "docker.io/library/busybox", "library/busybox:latest"] {
        lab.run(["echo", name]).of(name).finish()?.succeeds()?.prints(format!("{name}\n"))?;
    }
    lab.run(["true"]).with(["--pull", "never"]).finish()?.succeeds()?;
    // It has a shell for a command, as everybody's busybox has.
    lab.run([""; 0])
        .with(["-i"])
        .of("busybox")
        .input("echo typed\n")
        .finish()?
        .succeeds()?
        .prints("typed\n")
        .map(drop)
}

fn unknown(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?;
    for name in ["no-such-image", "127.0.0.1:5000/nobody/nothing:9", "busybox:no-such-tag", "0123456789ab"] {
        let outcome = lab.kept(["true"]).of(name).finish()?;
        outcome.exits(125)?.prints("")?.mentions(name)?;
        let outcome = lab.kept(["true"]).with(["--pull", "never"]).of(name).finish()?;
        outcome.refuses(&[125])?.mentions("no such image")?.mentions(name)?;
    }
    see::same("run of images that are not there", "what is left:", Vec::new(), lab.containers())?;
    lab.run(["true"]).with(["--pull", "sometimes"]).finish()?.refuses(&[125])?.mentions("sometimes").map(drop)
}

fn bad_names(lab: &Lab) -> Result<()> {
    let long = "x".repeat(300);
    for name in [
        "",
        "Busybox",
        "a//b",
        "/a",
        "a/",
        "../a",
        "a/../b",
        "a:",
        "a:b:c",
        "a:.b",
        "a b",
        "a\nb",
        "a@sha256:12",
        "a@md5:0123456789abcdef0123456789abcdef",
        "_tags",
        &long,
    ] {
        let outcome = lab.kept(["true"]).of(name).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "what is left:", Vec::new(), lab.containers())?;
    }
    Ok(())
}

fn names(lab: &Lab) -> Result<()> {
    let image = image()?.says("Cmd", json!(["cat", "/from"]));
    load(lab, &image, "localhost:5000/lab/deep/one:1.0-rc_1")?;
    let manifest = image.manifest().digest();
    let config = image.config().digest();
    for name in [
        "localhost:5000/lab/deep/one:1.0-rc_1",
        &format!("localhost:5000/lab/deep/one@{manifest}"),
        &config,
        &config[7..],
        &config[7..19],
        &config[7..13],
        &manifest,
        &manifest[7..19],
    ] {
        lab.run([""; 0]).of(name).finish()?.succeeds()?.prints("the image\n")?;
    }
    lab.kept(["true"])
        .with(["--pull", "never"])
        .of("localhost:5000/lab/deep/one")
        .finish()?
        .refuses(&[125])?;
    // What could be both is a name.
    let other = Image::of(&[busybox()?, vec![Entry::file("from", "the other\n")]])?;
    load(lab, &other.says("Cmd", json!(["cat", "/from"])), &config[7..13])?;
    lab.run([""; 0]).of(&config[7..13]).finish()?.succeeds()?.prints("the other\n").map(drop)
}

fn shared(lab: &Lab) -> Result<()> {
    let upper = vec![Entry::file("from", "the second\n"), Entry::file("etc/own", "of the second\n")];
    let lower = vec![Entry::file("from", "the first\n"), Entry::file("below", "of the first\n")];
    load(lab, &Image::of(&[busybox()?, lower, upper])?, NAME)?;
    let read = ["cat", "/from", "/below", "/etc/own"];
    let text = "the second\nof the first\nof the second\n";
    prints(lab, &[], &read, text)?;
    let number = ["stat", "-c", "%i", "/etc/own"];
    let before = lab.run(number).of(NAME).finish()?;
    let mut one =
        lab.run(["sh", "-c", "echo mine > /from; rm /below; echo ready; sleep 1000"]).of(NAME).start()?;
    one.wrote("ready\n")?;
    prints(lab, &[], &read, text)?;
    // The same file, and not one that looks like it.
    prints(lab, &[], &number, &before.output())?;
    one.signal(nix::sys::signal::Signal::SIGTERM);
    one.kill_command()?;
    prints(lab, &[], &read, text)
}

fn many_layers(lab: &Lab) -> Result<()> {
    let layer = |number| {
        let name = format!("layers/{number}");
        vec![
            Entry::directory("layers/"),
            Entry::file(&name, "here\n"),
            Entry::file("last", format!("{number}\n")),
        ]
    };
    let mut layers = vec![busybox()?];
    layers.extend((2..=300).map(layer));
    load(lab, &Image::of(&layers)?, NAME)?;
    prints(lab, &[], &["sh", "-c", "cat /last; ls /layers | wc -l"], "300\n299\n")
}

fn stays(lab: &Lab) -> Result<()> {
    load(lab, &image()?, NAME)?;
    let one = lab.kept(["cat", "/from"]).with(["--name", "one"]).of(NAME).detach()?;
    one.exits(0)?;
    load(lab, &Image::of(&[busybox()?, vec![Entry::file("from", "another\n")]])?, NAME)?;
    prints(lab, &[], &["cat", "/from"], "another\n")?;
    lab.says("start", ["one"], "one\n")?;
    sleep(Duration::from_millis(10));
    one.exits(0)?;
    see::same(one.line(), "what it wrote, started twice:", "the image\n".repeat(2), one.logs()?.output())
}
