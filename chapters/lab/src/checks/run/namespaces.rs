//! What the container shares with the host, and what not: namespaces(7).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use crate::chapter::Chapter::{Images, Run};
use crate::checks::check::Check;
use crate::machine::process::{Process, is_command};
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "namespaces",
        Run,
        "The command has its own mnt, uts, ipc, pid and net namespaces, and the host's user namespace.",
        namespaces,
    ),
    Check::new("pid1", Run, "The command is process 1 of its namespace, and alone there.", pid1),
    Check::new(
        "runtime-replaced",
        Run,
        "Nothing in the container still executes the runtime: execve replaced it.",
        runtime_replaced,
    ),
    Check::new(
        "proc-shows-container",
        Run,
        "/proc inside shows the container's processes and no other.",
        proc_shows_container,
    ),
    Check::new(
        "hostname-default",
        Run,
        "The hostname is the container's id, 12 hex digits, and another one for each container.",
        hostname_default,
    ),
    Check::new(
        "hostname-option",
        Run,
        "--hostname sets the container's hostname, and the host keeps its own.",
        hostname_option,
    ),
    Check::new(
        "hostname-empty",
        Run,
        "An empty --hostname is none: the hostname is the container's id.",
        hostname_empty,
    ),
    Check::new(
        "network-empty",
        Run,
        "The container has no network but what a new network namespace has: lo.",
        network_empty,
    )
    .until(Images),
    Check::new(
        "twenty-at-once",
        Run,
        "Twenty containers started at once all work, each with an id of its own.",
        twenty_at_once,
    ),
    Check::new(
        "twenty-short",
        Run,
        "Short containers, twenty at a time, of which some end while others begin, all work.",
        twenty_short,
    ),
];

const PRINT_HOSTNAME: &str = "read name < /proc/sys/kernel/hostname; echo \"$name\"";

fn namespaces(lab: &Lab) -> Result<()> {
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let container = run.container()?;
    for (kind, own) in
        [("mnt", true), ("uts", true), ("ipc", true), ("pid", true), ("net", true), ("user", false)]
    {
        let (inside, outside) =
            (container.namespace(kind)?, fs::read_link(format!("/proc/thread-self/ns/{kind}"))?);
        if (inside != outside) != own {
            let expected = if own { "other than" } else { "the same as" };
            return Err(run.differs(
                format!("a {kind} namespace {expected} the host's, {}", outside.display()),
                inside.display(),
            ));
        }
    }
    run.kill_command().map(drop)
}

fn pid1(lab: &Lab) -> Result<()> {
    lab.sh("echo $$").finish()?.succeeds()?.prints("1\n")?;
    let mut run = lab.run(["sleep", "1000"]).start()?;
    let container = run.container()?;
    run.same("the processes of its PID namespace to be", [container.0].into(), container.companions()?)?;
    run.kill_command().map(drop)
}

fn runtime_replaced(lab: &Lab) -> Result<()> {
    let script = "sleep 1000 & echo started; wait";
    let mut run = lab.sh(script).start()?;
    run.wrote("started")?;
    let container = run.container()?;
    let companions = container.companions()?;
    // The shell's own child may be seen before it has become sleep, but never as the runtime.
    let expected = [["sh", "-c", script].as_slice(), &["sleep", "1000"]]
        .map(|words| words.iter().map(OsString::from).collect::<Vec<_>>());
    for pid in companions {
        let process = Process(pid);
        // In the middle of execve a process has its new memory already, and no command line in it yet.
        let told = || Some(process.arguments()).filter(|words| !words.is_empty() || !process.lives());
        let words = see::wait_for(see::SOON, || Ok(told()))?.unwrap_or_default();
        if process.lives() && !expected.iter().any(|command| is_command(&words, command)) {
            return Err(run.differs("no process inside but the shell and its sleep", process.command()));
        }
    }
    run.kill_command().map(drop)
}

fn proc_shows_container(lab: &Lab) -> Result<()> {
    // Shell builtins only, so that there is one process.
    lab.sh("for entry in /proc/[0-9]*; do echo \"$entry\"; done")
        .finish()?
        .succeeds()?
        .prints("/proc/1\n")?;
    lab.sh("sh -c 'echo /proc/[0-9]*; exit' && true").finish()?.succeeds()?.prints("/proc/1 /proc/2\n")?;
    Ok(())
}

/// The hostname that a container has with these options, which must be an id.
fn id_as_hostname(lab: &Lab, options: &[&str]) -> Result<String> {
    let outcome = lab.sh(PRINT_HOSTNAME).with(options).finish()?;
    let name = outcome.succeeds()?.output().trim_end().to_string();
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if name.len() != 12 || !name.chars().all(hex) {
        return Err(outcome.differs("12 hex digits on stdout"));
    }
    Ok(name)
}

fn hostname_default(lab: &Lab) -> Result<()> {
    let (one, two) = (id_as_hostname(lab, &[])?, id_as_hostname(lab, &[])?);
    if one == two {
        return Err(see::differs("two runs", "two hostnames", format!("{one} twice")));
    }
    Ok(())
}

fn hostname_empty(lab: &Lab) -> Result<()> {
    id_as_hostname(lab, &["--hostname", ""])?;
    id_as_hostname(lab, &["--hostname="]).map(drop)
}

fn hostname_option(lab: &Lab) -> Result<()> {
    let outcome = lab.sh(PRINT_HOSTNAME).with(["--hostname", "box"]).finish()?;
    outcome.succeeds()?.prints("box\n")?;
    lab.host_unchanged(&outcome.line)
}

fn network_empty(lab: &Lab) -> Result<()> {
    // Some kernels add tunnel devices to every new namespace, so a new one says what is empty.
    let devices = |table: &str| -> Vec<String> {
        let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_string());
        table.lines().filter_map(name).collect()
    };
    let fresh = std::thread::spawn(|| -> Result<String> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(fs::read_to_string("/proc/thread-self/net/dev")?)
    });
    let fresh = fresh.join().ok().context("a thread panicked")??;
    let outcome = lab.run(["cat", "/proc/net/dev"]).finish()?;
    see::same(&outcome.line, "the network devices", devices(&fresh), devices(&outcome.succeeds()?.output()))
}

fn twenty_at_once(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once, the image, is made before
    let script = format!("{PRINT_HOSTNAME}; exec sleep 1000");
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(lab.sh(&script).start()?);
    }
    let mut names = HashSet::new();
    for run in &mut runs {
        run.wrote("\n")?;
        names.insert(String::from_utf8_lossy(&run.stdout()).trim_end().to_string());
    }
    see::same("20 runs at once", "as many hostnames:", 20, names.len())?;
    for mut run in runs {
        run.container()?;
        run.kill_command()?.exits(137)?.complains("")?;
    }
    Ok(())
}

fn twenty_short(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?; // what is made only once, the image, is made before
    for _ in 0..5 {
        let start = |_| lab.run(["true"]).start();
        for run in (0..20).map(start).collect::<Result<Vec<_>>>()? {
            run.finish()?.succeeds()?;
        }
    }
    Ok(())
}
