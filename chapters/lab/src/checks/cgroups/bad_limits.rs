//! Limits that make no sense are refused before anything is made.

use anyhow::Result;

use crate::chapter::Chapter::Cgroups;
use crate::checks::check::Check;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "bad-memory",
        Cgroups,
        "A memory size that is none, too small or too large is refused.",
        bad_memory,
    )
    .without_container(),
    Check::new(
        "bad-cpuset",
        Cgroups,
        "A list of processors that is none, or has one that the host lacks, is refused.",
        bad_cpuset,
    )
    .without_container(),
    Check::new(
        "bad-cpu",
        Cgroups,
        "A share or a number of processors that is none, zero or negative is refused.",
        bad_cpu,
    )
    .without_container(),
    Check::new(
        "bad-pids",
        Cgroups,
        "A limit of no processes, or of what is no number, is refused.",
        bad_pids,
    )
    .without_container(),
];

fn refused(lab: &Lab, option: &str, values: &[&str]) -> Result<()> {
    for value in values {
        lab.sh("echo ran").with([option, value]).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn bad_memory(lab: &Lab) -> Result<()> {
    refused(
        lab,
        "-m",
        &["10x", "1", "99999999999999999999g", "99999999999999999999", "0", "m", "1.5.5m", "-5", ""],
    )
}

fn bad_cpuset(lab: &Lab) -> Result<()> {
    let lists = ["0-999", "abc", "1-0", "999", "0,", "0--1", ""];
    refused(lab, "--cpuset-cpus", &lists)?;
    refused(lab, "--cpuset-mems", &lists)
}

fn bad_cpu(lab: &Lab) -> Result<()> {
    refused(lab, "--cpu-shares", &["0", "-5", "abc", "1.5", "99999999999999999999", ""])?;
    refused(lab, "--cpus", &["0", "abc", "-1", "nan", "inf", ""])
}

fn bad_pids(lab: &Lab) -> Result<()> {
    refused(lab, "--pids-limit", &["0", "abc", "1.5", "99999999999999999999", ""])
}
