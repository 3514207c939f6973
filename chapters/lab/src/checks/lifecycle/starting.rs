//! `start`: the same container again.

use std::fs::{self, File};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::checks::pivot_root::image::image_copied;
use crate::machine::hierarchy;
use crate::see::{self, SOON, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "start-again",
        Lifecycle,
        "start begins the same container again: what it wrote is there, its id and its name.",
        again,
    ),
    Check::new(
        "start-options",
        Lifecycle,
        "What run was asked for holds when it is started again: limits, volumes, hostname, arguments.",
        options,
    ),
    Check::new("start-running", Lifecycle, "start of one that runs does nothing: 0.", running),
    Check::new(
        "start-attached",
        Lifecycle,
        "start -a shows what it writes, and returns its status; with -i it reads.",
        attached,
    ),
    Check::new(
        "start-failed",
        Lifecycle,
        "What cannot be started says why in one line, and can be started when the reason is gone.",
        failed,
    ),
    Check::new(
        "read-only-root",
        Lifecycle,
        "With --read-only nobody writes in the root, by exec or cp neither, started again neither; in volumes they do.",
        read_only,
    ),
];

fn again(lab: &Lab) -> Result<()> {
    let one = lab
        .kept(["sh", "-c", "hostname; echo once >> /file; wc -l < /file"])
        .with(["--name", "one"])
        .detach()?;
    one.exits(0)?;
    let first = one.inspected()?;
    for round in 2..=4 {
        lab.says("start", ["one"], "one\n")?;
        one.wrote(&format!("\n{round}\n"))?;
        one.exits(0)?;
    }
    let id = one.id();
    see::same(
        "start",
        "what it wrote:",
        format!("{id}\n1\n{id}\n2\n{id}\n3\n{id}\n4\n"),
        one.logs()?.output(),
    )?;
    let now = one.inspected()?;
    see::same(
        "start",
        "Name and Created to stay",
        (&first["Name"], &first["Created"]),
        (&now["Name"], &now["Created"]),
    )?;
    see::same(
        "start",
        "StartedAt to stay:",
        false,
        first["State"]["StartedAt"] == now["State"]["StartedAt"],
    )?;
    see::same("start", "containers in ps -a:", 1, lab.listed()?.len())
}

fn options(lab: &Lab) -> Result<()> {
    let data = lab.folder("data")?;
    fs::write(data.join("file"), "of the host")?;
    let script = "printf '%s|' \"$@\"; hostname; cat /data/file; echo; grep -c byhand /proc/self/cgroup > /dev/null && echo limited; echo x > /data/out";
    let words = ["sh", "-c", script, "sh", "a  b", "", "$HOME"];
    let one = lab.kept(words).inside(&data).with(["--hostname", "inner", "-v", "./:/data"]);
    let limited = hierarchy::of("memory")?.is_some();
    let limit: &[&str] = if limited { &["-m", "100m"] } else { &[] };
    let one = one.with(limit).detach()?;
    one.exits(0)?;
    let output = one.logs()?.output();
    if !output.starts_with("a  b||$HOME|inner\nof the host\n") {
        return Err(one.logs()?.differs("the words as they were, the hostname, and the file of the volume"));
    }
    fs::remove_file(data.join("out"))?;
    // From another directory: ./ is where run was.
    lab.call("start", [one.id()]).inside("/".as_ref()).finish()?.succeeds()?;
    one.exits(0)?;
    see::same("start", "what it wrote:", output.repeat(2), one.logs()?.output())?;
    see::same("start", "the file in the volume", "x\n".to_string(), fs::read_to_string(data.join("out"))?)
}

fn running(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).detach()?;
    let process = one.process()?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    see::same("start", "process 1 to be", process, one.process()?)?;
    let some = lab.call("start", ["nobody", one.id()]).finish()?;
    some.exits(1)?.mentions("nobody")?.prints(format!("{}\n", one.id())).map(drop)
}

fn attached(lab: &Lab) -> Result<()> {
    let script = "echo out; echo err >&2; exit 4";
    let one = lab.kept(["sh", "-c", script]).with(["--name", "one"]).finish()?;
    one.exits(4)?;
    for _ in 0..3 {
        lab.call("start", ["-a", "one"]).finish()?.exits(4)?.prints("out\n")?.complains("err\n")?;
    }
    lab.says("rm", ["one"], "one\n")?;
    let two = lab.kept(["sh", "-c", "read line; echo \"got $line\""]).with(["-i", "--name", "two"]);
    two.input("first\n").finish()?.succeeds()?.prints("got first\n")?;
    lab.call("start", ["-a", "-i", "two"]).input("second\n").finish()?.succeeds()?.prints("got second\n")?;
    lab.says("rm", ["two"], "two\n")?;
    // Whoever can't show it any more says so, and leaves it alone.
    let script = "while :; do echo line; sleep 0.02; done";
    let three = lab.kept(["sh", "-c", script]).with(["--name", "three"]).detach()?;
    lab.says("kill", ["three"], "three\n")?;
    three.exits(137)?;
    let full = ["sh", "-c", "exec \"$@\" > /dev/full", "sh"];
    let mut shows = lab.call("start", ["-a", "three"]).under(full).start()?;
    wait_for(SOON, || shows.ended())?.ok_or_else(|| shows.differs("an end of start -a", "none"))?;
    shows.finish()?.refuses(&[1, 125])?.mentions("(ENOSPC)")?;
    see::same(three.line(), "the State in ps -a:", "running".to_string(), three.state()?)?;
    three.remove()?;
    // Ctrl-C ends who has to wait for somebody else.
    let four = lab.kept(["true"]).with(["--name", "four"]).detach()?;
    four.exits(0)?;
    let other = File::open(lab.place_of_containers().join(four.id()))?;
    other.lock_shared()?;
    let five = lab.kept(["true"]).with(["--name", "five"]).detach()?;
    five.exits(0)?;
    for options in [&["four"][..], &["-a", "four"], &["five", "four"]] {
        let mut waits = lab.call("start", options).start()?;
        if options[0] == "five" {
            waits.wrote("five\n")?;
        }
        sleep(Duration::from_millis(300));
        if let Some(early) = waits.ended()? {
            return Err(waits.differs("start to wait for who has the container", early));
        }
        waits.signal(Signal::SIGINT);
        let ended = wait_for(SOON, || waits.ended())?;
        let ended = ended.ok_or_else(|| waits.differs("an end of start after SIGINT", "none"))?;
        see::same(four.line(), "start, after SIGINT, to succeed:", false, ended.success())?;
    }
    drop(other);
    five.remove()?;
    four.remove()?;
    lab.refuses("start", ["-a", "nobody"], "nobody")
}

fn failed(lab: &Lab) -> Result<()> {
    let root = image_copied(lab, "root")?;
    let one = lab.kept(["true"]).with(["--rootfs".as_ref(), root.as_os_str()]).detach()?;
    one.exits(0)?;
    let away = lab.path("away");
    fs::rename(&root, &away)?;
    let outcome = lab.call("start", [one.id()]).finish()?;
    outcome.refuses(&[1])?.mentions("root")?;
    see::same(&outcome.line, "the container to run:", false, one.state()? == "running")?;
    fs::rename(&away, &root)?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    one.exits(0)
}

fn read_only(lab: &Lab) -> Result<()> {
    let (data, file) = (lab.folder("data")?, lab.path("file"));
    fs::write(&file, "of the host\n")?;
    let file = file.to_str().context("a path that is no text")?;
    let script = "
        for path in /new /etc/passwd /tmp/new; do
            { echo x > $path; } 2> /dev/null && echo \"$path was written\"
        done
        echo x > /data/new && echo x > /scratch/new && echo x > /dev/shm/new && echo x > /dev/null && pwd
        exec sleep 1000";
    let volume = format!("{}:/data", data.display());
    let options = ["--read-only", "-v", &volume, "--tmpfs", "/scratch", "-w", "/made/here"];
    let one = lab.kept(["sh", "-c", script]).with(options).detach()?;
    let inside = |path: &str| format!("{}:{path}", one.id());
    for round in 1..=2 {
        one.wrote(&"/made/here\n".repeat(round))?;
        see::same(one.line(), "what it wrote:", "/made/here\n".repeat(round), one.logs()?.output())?;
        lab.call("exec", [one.id(), "touch", "/new"]).finish()?.exits(1)?.mentions("read-only")?;
        lab.refuses("cp", [file, &inside("/new")], "read-only")?;
        lab.says("cp", [file, &inside("/data/copied")], "")?;
        lab.says("kill", [one.id()], &format!("{}\n", one.id()))?;
        one.exits(137)?;
        lab.refuses("cp", [file, &inside("/new")], "read-only")?;
        lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    }
    Ok(())
}
