//! Checks for the exercises of the book: options that no chapter has, and that a reader adds.

use anyhow::Result;

use crate::Chapter::Run;
use crate::Check;
use crate::runtime::Lab;

pub(crate) const CHECKS: &[Check] =
    &[Check::new("workdir", Run, "-w DIR starts the command in that directory.", workdir)
        .exercise("workdir")];

fn workdir(lab: &Lab) -> Result<()> {
    lab.run(["pwd"]).with(["-w", "/proc"]).finish()?.succeeds()?.prints("/proc\n")?;
    Ok(())
}
