//! What cannot be done is said in one line, with status 125, and leaves nothing behind.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::chown;

use anyhow::Result;
use nix::libc;

use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::machine::mounts::bind;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new("no-command", Run, "run without a command is refused.", no_command).without_container(),
    Check::new("unknown-option", Run, "An option that does not exist is refused, and named.", unknown_option)
        .without_container(),
    Check::new("option-twice", Run, "Of an option that is given twice, the last counts.", option_twice),
    Check::new("bad-log-level", Run, "A log level that does not exist is refused.", bad_log_level)
        .without_container(),
    Check::new("bad-hostname", Run, "A hostname longer than the kernel's 64 bytes is refused.", bad_hostname),
    Check::new(
        "directory-as-stream",
        Run,
        "A directory as stdin or stderr, which would lead out of the container's root, is refused.",
        directory_as_stream,
    ),
    Check::new("not-root", Run, "Without root it says that it needs root.", not_root).without_container(),
];

fn no_command(lab: &Lab) -> Result<()> {
    lab.run([""; 0]).finish()?.refuses(&[125])?;
    lab.run(["-i"]).finish()?.refuses(&[125])?;
    lab.run(["--hostname"]).finish()?.refuses(&[125])?;
    Ok(())
}

fn unknown_option(lab: &Lab) -> Result<()> {
    lab.sh("echo ran").with(["--no-such-option"]).finish()?.refuses(&[125])?.mentions("--no-such-option")?;
    lab.sh("echo ran").with(["-z"]).finish()?.refuses(&[125])?.mentions("-z")?;
    Ok(())
}

fn option_twice(lab: &Lab) -> Result<()> {
    lab.run(["cat"]).with(["-i", "-i"]).input("words").finish()?.succeeds()?.prints("words")?;
    let name = "read name < /proc/sys/kernel/hostname; echo \"$name $HOSTNAME\"";
    let twice = ["--hostname", "one", "--hostname", "two", "--log-level", "debug", "--log-level", "error"];
    lab.sh(name).with(twice).finish()?.succeeds()?.prints("two two\n")?;
    Ok(())
}

fn bad_log_level(lab: &Lab) -> Result<()> {
    lab.sh("echo ran").with(["--log-level", "loud"]).finish()?.refuses(&[125])?.mentions("loud")?;
    Ok(())
}

fn bad_hostname(lab: &Lab) -> Result<()> {
    lab.sh("echo ran").with(["--hostname", &"x".repeat(65)]).finish()?.refuses(&[125])?;
    Ok(())
}

fn directory_as_stream(lab: &Lab) -> Result<()> {
    let directory = OwnedFd::from(fs::File::open(lab.folder("directory")?)?);
    for stream in [0, 2] {
        let own = directory.try_clone()?;
        let give = move || {
            // SAFETY: makes a descriptor out of an open one, between fork and exec.
            if unsafe { libc::dup2(own.as_raw_fd(), stream) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        };
        let outcome = lab.sh("echo ran").with(["-i"]).prepared(give).finish()?;
        if stream == 0 {
            outcome.refuses(&[125])?.mentions("directory")?;
        } else {
            outcome.exits(125)?.prints("")?; // nobody could read why
        }
    }
    Ok(())
}

fn not_root(lab: &Lab) -> Result<()> {
    const NOBODY: u32 = 65534;
    // The runtime may lie in a directory that only root can enter: nobody gets it in the lab's own.
    let copy = lab.path("runtime");
    fs::write(&copy, "")?;
    bind(lab.program(), &copy)?;
    let state = lab.folder("open")?;
    chown(&state, Some(NOBODY), Some(NOBODY))?;
    lab.arranged()?;
    let run = lab.sh("echo ran").program(&copy).state(&state).inside(&state).user(NOBODY);
    run.finish()?.refuses(&[125])?.mentions("root")?;
    Ok(())
}
