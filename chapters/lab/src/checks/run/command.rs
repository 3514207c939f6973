//! The command: its arguments byte for byte, and its exit status.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::chapter::Chapter::{PivotRoot, Run};
use crate::checks::check::Check;
use crate::see::{SOON, differs, wait_for};
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "argv-exact",
        Run,
        "Every argument arrives byte for byte: spaces, quotes, newlines, none at all, and what is no text.",
        argv_exact,
    ),
    Check::new(
        "options-after-command",
        Run,
        "What follows COMMAND is COMMAND's, options and -- included.",
        options_after_command,
    ),
    Check::new(
        "shell-line-exact",
        Run,
        "sh -c 'echo \"a  b\"; exit 7' keeps both spaces and returns 7.",
        shell_line_exact,
    ),
    Check::new("exit-status", Run, "run returns the command's own exit status.", exit_status),
    Check::new("exit-by-signal", Run, "run returns 128+n when signal n killed the command.", exit_by_signal),
    Check::new(
        "command-not-found",
        Run,
        "A command that is not there gives 127 and one line that names it.",
        command_not_found,
    ),
    Check::new(
        "command-dangling-link",
        Run,
        "A command that is a link to nothing is not there: 127, and one line that names it.",
        command_dangling_link,
    ),
    Check::new(
        "command-not-executable",
        Run,
        "A file that cannot be executed gives 126 and one line that names it.",
        command_not_executable,
    ),
    Check::new(
        "path-searched",
        Run,
        "A command without a slash is looked for in PATH, one with a slash is not.",
        path_searched,
    ),
    Check::new(
        "end-with-command",
        Run,
        "When the command ends, run returns at once, and what it left running is ended.",
        end_with_command,
    ),
];

/// Prints each argument, ended by a newline and a bar.
const PRINT_ARGUMENTS: [&str; 4] = ["sh", "-c", "printf '%s\\n|' \"$@\"", "sh"];

fn argv_exact(lab: &Lab) -> Result<()> {
    let arguments: [&[u8]; 16] = [
        b"a  b",
        b"",
        b" ",
        b"'",
        b"\"",
        b"$HOME",
        b"*",
        b"line\nbreak\n",
        b"\t",
        b"\\",
        b"\\n",
        b"%s",
        b"-",
        "\u{e4}\u{20ac}".as_bytes(),
        b"\xff\xfe\x80",
        b"",
    ];
    let words = PRINT_ARGUMENTS.map(OsStr::new).into_iter().chain(arguments.map(OsStr::from_bytes));
    lab.run(words).finish()?.succeeds()?.prints([arguments.join(&b"\n|"[..]).as_slice(), b"\n|"].concat())?;
    Ok(())
}

fn options_after_command(lab: &Lab) -> Result<()> {
    let arguments = [
        "-t",
        "--",
        "-i",
        "--hostname",
        "-m",
        "10x",
        "--log-level",
        "nonsense",
        "--help",
        "-h",
        "--version",
        "--",
    ];
    let words = PRINT_ARGUMENTS.into_iter().chain(arguments);
    lab.run(words).finish()?.succeeds()?.prints(arguments.join("\n|") + "\n|")?;
    // Right after COMMAND as well.
    lab.run(["echo", "--", "-x"]).finish()?.succeeds()?.prints("-- -x\n")?;
    Ok(())
}

fn shell_line_exact(lab: &Lab) -> Result<()> {
    lab.sh("echo \"a  b\"; exit 7").finish()?.exits(7)?.prints("a  b\n")?;
    Ok(())
}

fn exit_status(lab: &Lab) -> Result<()> {
    for code in [0, 1, 7, 125, 255] {
        lab.sh(&format!("exit {code}")).finish()?.exits(code)?.complains("")?;
    }
    Ok(())
}

fn exit_by_signal(lab: &Lab) -> Result<()> {
    // By SIGKILL from outside: process 1 of a namespace ignores most others that it does not handle.
    lab.run(["sleep", "1000"]).start()?.kill_command()?.exits(137)?;
    Ok(())
}

fn command_not_found(lab: &Lab) -> Result<()> {
    for command in ["no-such-command", "/no/such/command", "./no-such-command"] {
        lab.run([command, "argument"]).finish()?.refuses(&[127])?.mentions(command)?;
    }
    lab.run([""]).finish()?.refuses(&[127, 125])?;
    Ok(())
}

fn command_dangling_link(lab: &Lab) -> Result<()> {
    // In the container's root, which is the host's until chapter 3.
    let link = if lab.has(PivotRoot) {
        symlink("nothing", lab.image()?.join("bin/dangling"))?;
        Path::new("/bin/dangling").to_path_buf()
    } else {
        symlink("nothing", lab.path("dangling"))?;
        lab.path("dangling")
    };
    lab.run([&link]).finish()?.refuses(&[127])?.mentions("dangling")?;
    if lab.has(PivotRoot) {
        // Looked for in PATH as well.
        lab.run(["dangling"]).finish()?.refuses(&[127])?.mentions("dangling")?;
    }
    Ok(())
}

fn command_not_executable(lab: &Lab) -> Result<()> {
    // A file without execute permission and a directory; every root has them.
    for command in ["/etc/passwd", "/etc"] {
        lab.run([command]).finish()?.refuses(&[126])?.mentions(command)?;
    }
    Ok(())
}

fn path_searched(lab: &Lab) -> Result<()> {
    lab.run(["true"]).finish()?.succeeds()?;
    lab.run(["/bin/true"]).finish()?.succeeds()?;
    // The caller's PATH is not the container's.
    lab.run(["true"]).variable("PATH", "/nowhere").finish()?.succeeds()?;
    // The working directory is not in PATH, neither the caller's nor the container's.
    let here = lab.folder("here")?;
    executable(&here.join("only-here"))?;
    if lab.has(PivotRoot) {
        executable(&lab.image()?.join("only-here"))?;
        lab.run(["/only-here"]).finish()?.succeeds()?;
    }
    lab.run(["only-here"]).inside(&here).finish()?.refuses(&[127])?;
    Ok(())
}

fn executable(path: &Path) -> Result<()> {
    fs::write(path, "#!/bin/sh\nexit 0\n").with_context(|| format!("writing {}", path.display()))?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

fn end_with_command(lab: &Lab) -> Result<()> {
    let outcome = lab.sh("sleep 1000 & sh -c 'trap \"\" TERM HUP; sleep 1000' & exit 3").finish()?;
    outcome.exits(3)?;
    // The lab looks afterwards whether any process is left; here it must be so at once.
    let left = lab.mark().processes();
    if !left.is_empty() {
        return Err(outcome.differs(format!("no process left when run returns, but there is {left:?}")));
    }
    at_once(lab)
}

/// Looks how long `run` outlives its command. Whatever else the machine does, once in so many tries it is quick.
fn at_once(lab: &Lab) -> Result<()> {
    const TRIES: usize = 20;
    const AT_ONCE: Duration = Duration::from_millis(200);
    let mut quickest = SOON;
    for _ in 0..TRIES {
        let mut run = lab.run(["sleep", "1000"]).start()?;
        let container = run.container()?;
        container.signal(Signal::SIGKILL);
        wait_for(SOON, || Ok((!container.lives()).then_some(())))?;
        let ended = Instant::now();
        wait_for(SOON, || run.ended())?;
        quickest = quickest.min(ended.elapsed());
        if quickest < AT_ONCE {
            return Ok(());
        }
    }
    let did = lab.run(["sleep", "1000"]).line();
    Err(differs(
        did,
        "the end of run with its command's",
        format!("{quickest:?} later, in the best of {TRIES}"),
    ))
}
