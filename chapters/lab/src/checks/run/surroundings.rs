//! What the command finds around it: environment, descriptors, stdin, stdout, stderr, and our logs apart.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Result;
use nix::libc;

use crate::chapter::Chapter::{Aufs, Run, Volumes};
use crate::checks::check::Check;
use crate::trial::running::Running;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "environment",
        Run,
        "The environment is PATH, HOME, TERM, HOSTNAME and no other variable.",
        environment,
    ),
    Check::new(
        "descriptors",
        Run,
        "Descriptors 0, 1 and 2 are open and no other, whatever run inherited.",
        descriptors,
    ),
    Check::new(
        "descriptors-many",
        Run,
        "Descriptors are closed however many and however high they are.",
        descriptors_many,
    ),
    Check::new(
        "stdin-null",
        Run,
        "Without -i the command reads an empty stdin, not the caller's.",
        stdin_null,
    ),
    Check::new(
        "stdin-passed",
        Run,
        "With -i the command reads the caller's stdin, every byte of it.",
        stdin_passed,
    ),
    Check::new(
        "streams-apart",
        Run,
        "stdout and stderr stay apart, and the runtime adds nothing to either.",
        streams_apart,
    ),
    Check::new(
        "no-terminal-warns",
        Run,
        "-t without a terminal on stdin warns and goes on without.",
        no_terminal_warns,
    )
    .until(Volumes),
    Check::new(
        "log-debug",
        Run,
        "--log-level debug tells the kernel steps on stderr, clone first and execve last, and nothing on stdout.",
        log_debug,
    ),
    Check::new(
        "log-variable",
        Run,
        "RUST_LOG sets the log level too, and --log-level wins over it.",
        log_variable,
    ),
    Check::new(
        "log-unread",
        Run,
        "A stderr that nobody reads, that is full or closed costs the log and nothing else.",
        log_unread,
    ),
];

fn environment(lab: &Lab) -> Result<()> {
    let run = lab.run(["sleep", "1000"]).variable("SECRET", "of-the-host").variable("LANG", "C.UTF-8");
    // Also what the runtime itself has a use for.
    let mut run = run.variable("RUST_LOG", "error").variable("TERM", "of-the-caller").start()?;
    let environment = run.container()?.environment()?;
    let names: BTreeSet<_> = environment.keys().map(String::as_str).collect();
    run.same("the variables", ["HOME", "HOSTNAME", "PATH", "TERM"].into(), names)?;
    for (name, value) in &environment {
        if value.is_empty() {
            return Err(run.differs(format!("a value for {name}"), "an empty one"));
        }
    }
    run.same("TERM, from the caller,", Some("of-the-caller"), environment.get("TERM").map(String::as_str))?;
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let missing: Vec<_> = usual.iter().filter(|one| !path.split(':').any(|other| other == **one)).collect();
    run.same(&format!("missing in PATH, {path},"), Vec::new(), missing)?;
    run.kill_command()?;
    let script = "read name < /proc/sys/kernel/hostname; [ \"$name\" = \"$HOSTNAME\" ]";
    lab.sh(script).finish()?.succeeds()?;
    lab.sh(script).with(["--hostname", "box"]).finish()?.succeeds()?;
    Ok(())
}

/// The lowest ones that can be inherited are those that a program often has for itself. They are opened by a shell: to
/// open them between fork and exec could hit what the lab itself has there.
fn inherits_low(lab: &Lab) -> Result<()> {
    let open = "exec 3< /dev/null 4< /dev/null 5> /dev/null 9< /; exec \"$@\"";
    only_three(lab.sh("echo ready; sleep 1000; :").under(["sh", "-c", open, "sh"]).start()?)
}

/// Starts a run that has inherited these descriptors, and looks which ones its command has.
fn inherits(lab: &Lab, inherited: impl Fn() -> std::ops::Range<i32> + Send + Sync + 'static) -> Result<()> {
    let give = move || {
        for fd in inherited() {
            // SAFETY: makes a new descriptor out of an open one. Between fork and exec it can only
            // replace one that will be closed by the exec anyway, and those are below 100.
            if unsafe { libc::dup2(0, fd) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    only_three(lab.sh("echo ready; sleep 1000; :").prepared(give).start()?)
}

fn only_three(mut run: Running) -> Result<()> {
    // By the time that the shell speaks, the loader has closed the libraries that it had opened.
    run.wrote("ready")?;
    let open = run.container()?.descriptors()?;
    let numbers: Vec<_> = open.keys().copied().collect();
    if numbers != [0, 1, 2] {
        return Err(run.differs("descriptors 0, 1 and 2", format!("{open:?}")));
    }
    run.kill_command().map(drop)
}

fn descriptors(lab: &Lab) -> Result<()> {
    inherits(lab, || 0..0)?;
    inherits_low(lab)?;
    inherits(lab, || 100..103)
}

fn descriptors_many(lab: &Lab) -> Result<()> {
    inherits(lab, || 100..1000)
}

fn stdin_null(lab: &Lab) -> Result<()> {
    lab.sh("cat; echo end").input("the caller's").finish()?.succeeds()?.prints("end\n")?;
    Ok(())
}

fn stdin_passed(lab: &Lab) -> Result<()> {
    let bytes: Vec<u8> =
        (0..1_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    lab.run(["cat"]).with(["-i"]).input(bytes.clone()).finish()?.succeeds()?.prints(bytes)?;
    lab.run(["cat"]).with(["-i"]).finish()?.succeeds()?.prints("")?;
    Ok(())
}

fn streams_apart(lab: &Lab) -> Result<()> {
    lab.sh("echo out; echo err >&2; echo out")
        .finish()?
        .exits(0)?
        .prints("out\nout\n")?
        .complains("err\n")?;
    Ok(())
}

fn no_terminal_warns(lab: &Lab) -> Result<()> {
    let outcome = lab.sh("cat; exit 3").with(["-t"]).finish()?;
    outcome.exits(3)?.prints("")?.mentions("terminal")?;
    let outcome = lab.sh("cat; exit 3").with(["-ti"]).input("words").finish()?;
    outcome.exits(3)?.prints("words")?.mentions("terminal")?;
    Ok(())
}

/// The calls that every container takes. The namespaces may be made by clone or unshare.
fn tells_steps(lab: &Lab, error: &str) -> bool {
    // With aufs, the host has a mount before there is a container. The container's own come after, as ever.
    let is_of_the_host = |line: &&str| lab.has(Aufs) && line.contains("mount(") && line.contains("aufs");
    let error = error.lines().filter(|line| !is_of_the_host(line)).collect::<Vec<_>>().join("\n");
    let at = |call: &str| error.find(call);
    let first = at("clone").or(at("unshare"));
    let last = error.rfind("execve");
    [at("mount("), at("sethostname")].into_iter().all(|step| first < step && step < last && step.is_some())
        && first.is_some()
}

fn log_debug(lab: &Lab) -> Result<()> {
    let outcome = lab.sh("echo out").with(["--log-level", "debug"]).finish()?;
    outcome.exits(0)?.prints("out\n")?;
    if !tells_steps(lab, &outcome.error()) {
        return Err(outcome.differs("clone, mount, sethostname, execve on stderr"));
    }
    Ok(())
}

fn log_variable(lab: &Lab) -> Result<()> {
    let run = || lab.sh("echo out");
    let outcome = run().variable("RUST_LOG", "debug").finish()?;
    outcome.exits(0)?.prints("out\n")?;
    if !tells_steps(lab, &outcome.error()) {
        return Err(outcome.differs("clone, mount, sethostname, execve on stderr"));
    }
    run().variable("RUST_LOG", "debug").with(["--log-level", "error"]).finish()?.succeeds()?;
    Ok(())
}

fn log_unread(lab: &Lab) -> Result<()> {
    let (reader, unread) = std::io::pipe()?;
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full")?;
    for stderr in [Some(OwnedFd::from(unread)), Some(full.into()), None] {
        let stderr = move || {
            // SAFETY: the child's stderr goes, between fork and exec, and what comes in its place is open.
            let done = unsafe {
                stderr.as_ref().map_or_else(|| libc::close(2), |file| libc::dup2(file.as_raw_fd(), 2))
            };
            if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        };
        let run = lab.sh("echo out; exit 7").with(["--log-level", "debug"]).prepared(stderr);
        run.finish()?.exits(7)?.prints("out\n")?;
    }
    Ok(())
}
