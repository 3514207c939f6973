//! `--pids-limit`: the pids controller.

use anyhow::Result;

use super::containers::sets;
use crate::chapter::Chapter::Cgroups;
use crate::checks::check::Check;
use crate::machine::hierarchy;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new("pids-limit", Cgroups, "--pids-limit sets the most processes that there may be.", pids_limit),
    Check::new(
        "pids-really",
        Cgroups,
        "Under --pids-limit 5 a command cannot start 20 processes.",
        pids_really,
    ),
];

fn pids_limit(lab: &Lab) -> Result<()> {
    for most in ["20", "1"] {
        sets(lab, &["--pids-limit", most], "pids", ("pids.max", most), ("pids.max", most))?;
    }
    Ok(())
}

fn pids_really(lab: &Lab) -> Result<()> {
    hierarchy::required("pids")?;
    let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 & echo; done";
    // The shell gives up when it cannot fork, after it has echoed once for each that it could.
    let outcome = lab.sh(script).with(["--pids-limit", "5"]).finish()?;
    outcome.mentions("fork")?;
    let started = outcome.output().lines().count();
    if outcome.status.success() || started > 4 {
        return Err(outcome.differs("4 processes beside the shell, and then an error"));
    }
    lab.sh(script).with(["--pids-limit", "50"]).finish()?.exits(0)?.prints("\n".repeat(20))?;
    Ok(())
}
