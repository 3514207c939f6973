//! strace(1) as a saboteur and a witness: it makes single system calls fail, and tells their order.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::chapter::Chapter;
use crate::see::{self, cannot_run};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::{Lab, Run};

/// Makes sure that there is a strace, and that this host lets it trace.
pub(crate) fn required() -> Result<()> {
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    match strace.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(cannot_run("strace may not trace here")),
        Err(_) => Err(cannot_run("there is no strace (package strace)")),
    }
}

/// Puts a run under strace, and returns what was traced along with how it ended.
pub(crate) fn traced(lab: &Lab, options: &[&str], run: Run<'_>) -> Result<(Outcome, String)> {
    required()?;
    let file = lab.path("strace");
    let file = file.to_str().context("the temporary directory's path is no text")?;
    let wrapper = ["strace", "-f", "-s", "4096", "-o", file].into_iter().chain(options.iter().copied());
    let outcome = run.under(wrapper).finish()?;
    Ok((outcome, fs::read_to_string(file).context("reading strace's output")?))
}

/// The calls that mount, as a pattern: a runtime may use the new ones.
pub(crate) const MOUNTS: &str = "/^(mount|move_mount|mount_setattr)$";

/// Lets the first call of `name` fail, then the second instead, and so on until none is left to fail.
/// The command must never run. There must be such a call, or the check would have seen nothing.
pub(crate) fn each_failing(lab: &Lab, name: &str) -> Result<()> {
    each_failing_of(lab, name, || lab.sh("echo the command ran"))
}

/// The same for a run of the check's own, which has to print `the command ran` when nothing fails.
pub(crate) fn each_failing_of<'a>(lab: &'a Lab, name: &str, run: impl Fn() -> Run<'a>) -> Result<()> {
    if any_failing(lab, name, &run)? {
        return Ok(());
    }
    Err(see::differs(run().line(), format!("a call of {name}, which strace makes fail"), "no such call"))
}

/// The same. False if there was no such call.
pub(crate) fn any_failing<'a>(lab: &'a Lab, name: &str, run: impl Fn() -> Run<'a>) -> Result<bool> {
    const MOST: usize = 50;
    run().finish()?.succeeds()?.prints("the command ran\n")?; // what is made only once is made now
    for number in 1..=MOST {
        let rule = format!("inject={name}:error=EPERM:when={number}");
        let (outcome, trace) = traced(lab, &["-e", &rule], run())?;
        if !trace.contains("(INJECTED)") {
            outcome.succeeds()?.prints("the command ran\n")?;
            return Ok(number > 1);
        }
        outcome.mentions("not permitted")?;
        // strace counts in each process by itself. If the clean-up failed too, that is told in a line of its own.
        if trace.matches("(INJECTED)").count() == 1 {
            outcome.refuses(&[125])?;
        } else {
            outcome.exits(125)?.prints("")?;
            if lab.has(Chapter::Aufs) {
                lab.next_run_sweeps()?; // or the mount that is still there would be unmounted in the next round
            }
        }
    }
    Err(cannot_run(format!("there are more than {MOST} calls of {name}")))
}
