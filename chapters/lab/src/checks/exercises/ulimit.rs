//! `--ulimit`: limits that each process has for itself.

use std::fs;

use anyhow::{Context, Result};

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "ulimit",
        Lifecycle,
        "--ulimit NAME=SOFT[:HARD] limits the command and what it starts; the last of a name counts.",
        command,
    )
    .exercise("ulimit"),
    Check::new("ulimit-kept", Lifecycle, "Such limits hold for exec, too, and after the next start.", kept)
        .exercise("ulimit"),
    Check::new(
        "ulimit-keeper",
        Lifecycle,
        "They don't hold for who keeps the container: its log is longer than a file of the command's may be.",
        keeper,
    )
    .exercise("ulimit"),
    Check::new("ulimit-bad", Lifecycle, "What is no limit is refused with 125.", bad).exercise("ulimit"),
];

/// What a shell tells of its limits: open files, soft and hard.
const TELL: &str = "ulimit -Sn; ulimit -Hn";

fn command(lab: &Lab) -> Result<()> {
    let told = |options: &[&str], expected: &str| -> Result<()> {
        let script = format!("sh -c '{TELL}'; ulimit -Sc; ulimit -Hc");
        let run = lab.run(["sh", "-c", &script]).with(options);
        run.finish()?.succeeds()?.prints(expected).map(drop)
    };
    told(&["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "100\n200\n0\n0\n")?;
    told(
        &["--ulimit=nofile=100", "--ulimit=core=-1", "--ulimit=nofile=64"],
        "64\n64\nunlimited\nunlimited\n",
    )?;
    let outcome = lab.sh("head -c 9000 /dev/zero > /file; wc -c < /file").with(["--ulimit", "fsize=4096"]);
    outcome.finish()?.exits(0)?.prints("4096\n").map(drop)
}

fn kept(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", &format!("{TELL}; exec sleep 1000")]);
    let one = one.with(["--ulimit", "nofile=100:200", "--name", "one"]).detach()?;
    one.wrote("100\n200\n")?;
    lab.says("exec", ["one", "sh", "-c", TELL], "100\n200\n")?;
    lab.says("stop", ["-t", "0", "one"], "one\n")?;
    lab.says("start", ["one"], "one\n")?;
    one.wrote("100\n200\n100\n200\n")?;
    lab.says("exec", ["one", "sh", "-c", TELL], "100\n200\n")
}

fn keeper(lab: &Lab) -> Result<()> {
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo written; exec sleep 1000";
    let limits = ["--ulimit", "fsize=4096", "--ulimit", "nofile=63"];
    let one = lab.kept(["sh", "-c", script]).with(limits).detach()?;
    one.wrote("x\nwritten\n")?;
    see::same(one.line(), "the length of its log", 100_009, one.logs()?.stdout.len())?;
    let keeper = one.keeper()?;
    let text = fs::read_to_string(keeper.file("limits")).context("reading the keeper's limits")?;
    let files = text.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    see::same(one.line(), "the keeper to have the limit, too:", false, files.contains(" 63 "))
}

fn bad(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--ulimit", "nofile=64"]).finish()?.succeeds()?; // else everything would be refused
    for bad in
        ["nofile", "nofile=", "nofile=many", "nofile=200:100", "nofile=-1:100", "files=100", "=100", ""]
    {
        let outcome = lab.kept(["echo", "the command ran"]).with(["--ulimit", bad]).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "what is left:", Vec::new(), lab.containers())?;
    }
    Ok(())
}
