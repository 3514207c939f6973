//! The checks judge right whatever a runtime is: a program, a script around one, an interpreter's script, a program that
//! executes itself again, and what others have written.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use lab::{Chapter, Limits, Plan, grade};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// A runtime that is a script, and what the checks must say of it.
struct Script {
    name: &'static str,
    /// `LAST` in it is the last chapter's program, `SELF` this test's.
    text: &'static str,
    chapter: Chapter,
    /// The checks to try; none means all.
    tried: &'static str,
    /// Those of them that must be red.
    red: &'static str,
    needs: &'static [&'static str],
}

/// Checks that look for the container while it runs, and others, which a small runtime can do.
const SMALL: &str = "namespaces pid1 runtime-replaced exit-status exit-by-signal argv-exact hostname-option \
    twenty-at-once environment descriptors end-with-command dies-with-run killed-before-bond";

/// The same, and others that depend on who is whose parent.
const WAITS: &str = "namespaces pid1 runtime-replaced exit-status exit-by-signal argv-exact hostname-option \
    twenty-at-once environment descriptors end-with-command dies-with-run killed-before-bond path-searched \
    signals-passed-on signal-defaults sigchld-ignored terminal-shell terminal-ctrl-c memory-limit memory-really \
    limit-first cgroup-gone cgroup-leftover workspace-gone workspace-leftover writes-in-upper volume-live volume-survives \
    pty-own pty-keys pty-modes-back pty-gone callers-terminal-out init-is-process-1 init-reaps init-signals init-bond";

const ALL: &str = "";

const SCRIPTS: [Script; 6] = [
    Script {
        name: "shell-exec",
        text: "#!/bin/sh\nexec LAST \"$@\"\n",
        chapter: Chapter::LAST,
        tried: ALL,
        red: "",
        needs: &[],
    },
    Script {
        // It cannot pass on SIGKILL: what it runs goes on, and nothing of it is left over.
        name: "python-waits",
        text: include_str!("../wrong/waits.py"),
        chapter: Chapter::LAST,
        tried: WAITS,
        red: "dies-with-run killed-before-bond init-bond",
        needs: &["python3"],
    },
    Script {
        name: "python",
        text: include_str!("../wrong/small.py"),
        chapter: Chapter::Run,
        tried: SMALL,
        red: "killed-before-bond", // it asks to die with its parent too late
        needs: &["python3"],
    },
    Script {
        name: "executes-itself",
        text: "#!/bin/sh\nexec SELF \"$@\"\n",
        chapter: Chapter::Run,
        tried: SMALL,
        red: "killed-before-bond",
        needs: &[],
    },
    Script {
        name: "bubblewrap",
        text: include_str!("../wrong/bubblewrap.sh"),
        chapter: Chapter::Run,
        tried: SMALL,
        // A PWD, and two descriptors that it keeps; and its child waits for a word of the parent's for ever.
        red: "environment descriptors killed-before-bond",
        needs: &["bwrap"],
    },
    Script {
        name: "runc",
        text: include_str!("../wrong/runc.py"),
        chapter: Chapter::Run,
        tried: SMALL,
        // Its file of words is JSON, which holds text only; and what it has started lives without it.
        red: "argv-exact dies-with-run",
        needs: &["runc", "python3", "busybox"],
    },
];

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match words.first().and_then(|word| word.to_str()) {
        Some("run") => return ended(outside(&words[1..])),
        Some("init") => return ended(inside(&words[1..]).map(|_| 0)),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let trials = SCRIPTS.iter().map(|script| {
        Trial::ignorable_test(script.name, move || {
            let found = |name: &str| Command::new("sh").args(["-c", "command -v $0", name]).output();
            for name in script.needs {
                if !found(name)?.status.success() {
                    return Ok(Completion::ignored_with(format!("there is no {name}")));
                }
            }
            judged(script).map_err(|error| Failed::from(format!("{error:#}")))?;
            Ok(Completion::Completed)
        })
    });
    lab::as_root(&arguments, trials.collect())
}

fn judged(script: &Script) -> Result<()> {
    let lab = Path::new(env!("CARGO_BIN_EXE_lab"));
    let last = lab.with_file_name(Chapter::LAST.package());
    ensure!(last.is_file(), "{} is not built: cargo build --bins", last.display());
    let own = std::env::current_exe()?;
    let directory = tempfile::tempdir_in(own.parent().context("a program is in a directory")?)?;
    let runtime = directory.path().join(script.name);
    let text =
        script.text.replace("LAST", &last.display().to_string()).replace("SELF", &own.display().to_string());
    // By its own path: one check runs it without a PATH.
    let ask = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python =
        ask.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()).unwrap_or_default();
    fs::write(&runtime, text.replacen("/usr/bin/env python3", &python, 1))?;
    fs::set_permissions(&runtime, Permissions::from_mode(0o755))?;

    let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<BTreeSet<_>>();
    let (tried, expected) = (words(script.tried), words(script.red));
    let mut checks: Vec<_> = lab::checks()
        .filter(|check| check.applies_to(script.chapter) && (tried.is_empty() || tried.contains(check.id)))
        .collect();
    ensure!(tried.is_empty() || checks.len() == tried.len(), "there are not all of {tried:?}");
    if tried.is_empty() {
        checks = lab::part_of("LAB_WRONG", &checks)?; // all of them take minutes
    }
    let plan = Plan {
        chapter: script.chapter,
        checks,
        runtime,
        lab: lab.to_path_buf(),
        limits: Limits { check: 120, run: 40 },
        jobs: 4,
    };
    let mut message = String::new();
    for one in grade(&plan, &mut ())? {
        match (one.failure(), expected.contains(one.check.id)) {
            (None, true) => message += &format!("{} should have failed\n", one.check.id),
            (Some(failure), false) => message += &format!("{} failed:\n{failure}\n", one.check.id),
            _ => {}
        }
    }
    ensure!(message.is_empty(), "{message}");
    Ok(())
}

/// As runtimes in Go do it, which cannot fork: the program executes itself again, in the new namespaces.
fn outside(words: &[OsString]) -> Result<u8> {
    let new = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID;
    unshare(new).context("making namespaces")?;
    let mut again = Command::new("/proc/self/exe");
    again.arg("init").args(words);
    // SAFETY: two system calls.
    unsafe { again.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)) };
    let status = again.status().context("executing itself")?;
    Ok(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255) as u8)
}

fn inside(words: &[OsString]) -> Result<Infallible> {
    let (hostname, command) = match words {
        [option, name, command @ ..] if option == "--hostname" => (name.clone(), command),
        command => (format!("{:012x}", std::process::id() as u64 ^ random()?).into(), command),
    };
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
    nix::unistd::sethostname(&hostname)?;
    for fd in 3..1024 {
        let _ = nix::unistd::close(fd);
    }
    let mut environment = vec![OsString::from("HOSTNAME=")];
    environment[0].push(&hostname);
    let term = std::env::var("TERM").unwrap_or("xterm".into());
    environment.extend([
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        "HOME=/root".into(),
        format!("TERM={term}").into(),
    ]);
    let strings = |list: &[OsString]| {
        list.iter().map(|one| CString::new(one.clone().into_vec())).collect::<Result<Vec<_>, _>>()
    };
    let command = strings(command)?;
    std::thread::sleep(std::time::Duration::from_millis(20)); // so that whoever looks too soon sees this program
    Ok(nix::unistd::execvpe(&command[0], &command, &strings(&environment)?)?)
}

fn random() -> Result<u64> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(u64::from_str_radix(&text[24..36], 16)?)
}

fn ended(result: Result<u8>) -> ExitCode {
    result.map_or_else(
        |error| {
            eprintln!("{error:#}");
            ExitCode::from(125)
        },
        ExitCode::from,
    )
}
