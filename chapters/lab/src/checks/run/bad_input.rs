//! What cannot be done is said in one line, with status 125, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::Result;

use crate::chapter::Chapter::Run;
use crate::checks::check::Check;
use crate::machine::mounts::bind;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new("no-command", Run, "run without a command is refused.", no_command).without_container(),
    Check::new("unknown-option", Run, "An option that does not exist is refused, and named.", unknown_option)
        .without_container(),
    Check::new("bad-log-level", Run, "A log level that does not exist is refused.", bad_log_level)
        .without_container(),
    Check::new("bad-hostname", Run, "A hostname longer than the kernel's 64 bytes is refused.", bad_hostname),
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

fn bad_log_level(lab: &Lab) -> Result<()> {
    lab.sh("echo ran").with(["--log-level", "loud"]).finish()?.refuses(&[125])?.mentions("loud")?;
    Ok(())
}

fn bad_hostname(lab: &Lab) -> Result<()> {
    lab.sh("echo ran").with(["--hostname", &"x".repeat(65)]).finish()?.refuses(&[125])?;
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
