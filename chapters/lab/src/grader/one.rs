//! One check in a process of its own: started, watched, and cleaned up after. fork(2), pipe(2).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdout, fork, setsid};
use serde_json::{Value, json};

use crate::chapter::Chapter;
use crate::checks::check::Check;
use crate::grader::cell::Cell;
use crate::grader::interrupt::interrupted;
use crate::grader::sandbox;
use crate::grader::verdict::{Graded, Verdict};
use crate::see::{CannotRun, Failure};
use crate::trial::runtime::Terms;

/// No answer by then, and a check has failed. A single run is ended sooner.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a whole check, in seconds.
    pub check: u64,
    /// For a run of the runtime, in seconds.
    pub run: u64,
}

/// Carries a check out on a host of its own. `lab` is the lab's own program; `name` is one that no other check has at
/// this moment. An error means that the lab could not do it.
pub(crate) fn carry_out(
    lab: &Path,
    name: &str,
    check: &'static Check,
    chapter: Chapter,
    runtime: &Path,
    limits: Limits,
) -> Result<Graded> {
    let start = Instant::now();
    let cell = Cell::make(name)?;
    let mut command = Command::new(lab);
    command.args([
        "one-check",
        check.id,
        "--chapter",
        chapter.name(),
        "--run-limit",
        &limits.run.to_string(),
    ]);
    command.arg("--runtime").arg(runtime);
    for directory in cell.roots() {
        command.arg("--cgroup").arg(directory);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("starting {}", lab.display()))?;
    let messages = messages(child.stdout.take().context("the check has no stdout")?);

    let end = start + Duration::from_secs(limits.check);
    let (mut doing, mut verdict, mut left) = (String::new(), None, Vec::new());
    let stopped = loop {
        match messages.recv_timeout(Duration::from_millis(50)) {
            Ok(message) => {
                let text = |name: &str| message[name].as_str().map(str::to_string);
                doing = text("doing").unwrap_or(doing);
                if let Some(found) = parsed(&message, &doing)? {
                    verdict.get_or_insert(found);
                }
                let list = message["left"].as_array().into_iter().flatten();
                left.extend(list.filter_map(Value::as_str).map(str::to_string));
            }
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) if interrupted() => break true,
            Err(RecvTimeoutError::Timeout) if Instant::now() > end => break true,
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    // With its first process the whole check's host dies; the cell holds what came about before it.
    child.kill().context("ending a check")?;
    child.wait().context("waiting for a check")?;
    cell.end();
    if interrupted() {
        bail!("interrupted");
    }
    left.extend(cell.leftovers().into_iter().map(|path| format!("cgroup {path}")));
    let unfinished = || {
        let saw = if stopped {
            "no end of it"
        } else {
            "the check's own process ended without a result: it was killed"
        };
        Verdict::Fail(Failure {
            did: doing,
            expected: format!("an end of the check within {} seconds", limits.check),
            saw: saw.into(),
        })
    };
    let verdict = verdict.unwrap_or_else(unfinished);
    Ok(Graded { check, verdict, seconds: start.elapsed().as_secs_f64(), left })
}

/// The messages of a check, as they come. Nobody but the check writes there, but a lot of it may be there.
fn messages(pipe: impl Read + Send + 'static) -> mpsc::Receiver<Value> {
    const MOST: u64 = 16 << 20;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe.take(MOST)).lines().map_while(Result::ok) {
            if let Ok(message) = serde_json::from_str(&line)
                && sender.send(message).is_err()
            {
                break;
            }
        }
    });
    receiver
}

/// The verdict, if the message tells one.
fn parsed(message: &Value, doing: &str) -> Result<Option<Verdict>> {
    let text = |name: &str| message[name].as_str().map(str::to_string);
    Ok(match message["outcome"].as_str() {
        Some("pass") => Some(Verdict::Pass),
        Some("skip") => Some(Verdict::Skip(text("reason").unwrap_or_default())),
        Some("fail") => Some(Verdict::Fail(Failure {
            did: text("did").unwrap_or(doing.to_string()),
            expected: text("expected").unwrap_or_default(),
            saw: text("saw").unwrap_or_default(),
        })),
        Some(_) => bail!("the check's host could not be made: {}", text("reason").unwrap_or_default()),
        None => None,
    })
}

/// Where the messages go, in the check's own process.
static REPORT: OnceLock<Mutex<File>> = OnceLock::new();

fn tell(message: &Value) {
    if let Some(report) = REPORT.get()
        && let Ok(mut report) = report.lock()
    {
        // Nobody listens any more if the lab is gone, and then this process is about to go too.
        let _ = writeln!(report, "{message}");
    }
}

/// Tells the lab what the check is about to do: should that never end, it can say so.
fn doing(line: &str) {
    tell(&json!({ "doing": line }));
}

/// What the process does that `carry_out` starts.
pub(crate) fn inside(
    check: &Check,
    chapter: Chapter,
    runtime: &Path,
    cell: &[PathBuf],
    run_limit: u64,
) -> ExitCode {
    if let Err(error) = separate(check, chapter, runtime, cell, run_limit) {
        tell(&json!({ "outcome": "error", "reason": format!("{error:#}") }));
    }
    ExitCode::SUCCESS
}

fn separate(check: &Check, chapter: Chapter, runtime: &Path, cell: &[PathBuf], run_limit: u64) -> Result<()> {
    // stdout is the pipe. The runtime must not get hold of it.
    // SAFETY: the descriptor is new, and nobody else's.
    let pipe = unsafe {
        std::os::fd::FromRawFd::from_raw_fd(fcntl(std::io::stdout(), FcntlArg::F_DUPFD_CLOEXEC(10))?)
    };
    REPORT.set(Mutex::new(pipe)).map_err(|_| anyhow!("there is a pipe already"))?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;

    die_with_parent()?;
    setsid().context("making a session")?;
    sandbox::enter(cell)?;
    sandbox::arrange(runtime)?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.context("forking")? {
        ForkResult::Parent { child } => waitpid(child, None).map(drop).context("waiting"),
        ForkResult::Child => {
            if let Err(error) = first(check, chapter, runtime, run_limit) {
                tell(&json!({ "outcome": "error", "reason": format!("{error:#}") }));
            }
            std::process::exit(0)
        }
    }
}

/// Process 1 of the check's host: it takes in orphans. When it ends, the kernel kills all that are left.
fn first(check: &Check, chapter: Chapter, runtime: &Path, run_limit: u64) -> Result<()> {
    die_with_parent()?;
    sandbox::begin()?;
    sandbox::can_execute(runtime)?;
    // SAFETY: as above.
    let check = match unsafe { fork() }.context("forking")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            result(check, chapter, runtime, Terms { longest: run_limit, told: doing });
            std::process::exit(0)
        }
    };
    loop {
        match waitpid(None::<Pid>, None).context("waiting")? {
            WaitStatus::Exited(pid, _) if pid == check => return Ok(()),
            WaitStatus::Signaled(pid, signal, _) if pid == check => {
                let saw = format!("the program that started `run` was killed, by {signal}");
                let expected = "only the container's own processes to get signals";
                tell(&json!({ "outcome": "fail", "expected": expected, "saw": saw }));
                return Ok(());
            }
            _ => {}
        }
    }
}

fn die_with_parent() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("asking to die with the parent")
}

/// The check itself.
fn result(check: &Check, chapter: Chapter, runtime: &Path, terms: Terms) {
    let (result, left) = check.with_leftovers(chapter, runtime, terms);
    let message = match result {
        Ok(()) => json!({ "outcome": "pass" }),
        Err(error) => match (error.downcast_ref(), error.downcast_ref()) {
            (Some(CannotRun(reason)), _) => json!({ "outcome": "skip", "reason": reason }),
            (_, Some(Failure { did, expected, saw })) => {
                json!({ "outcome": "fail", "did": did, "expected": expected, "saw": saw, "left": left })
            }
            _ => {
                json!({ "outcome": "fail", "expected": check.says, "saw": format!("{error:#}"), "left": left })
            }
        },
    };
    tell(&message);
}
