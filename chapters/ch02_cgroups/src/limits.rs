//! The limits as the user gives them, checked before anything is made: cgroups(7), cpuset(7).

use anyhow::{Context, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};

use crate::numbers::digits;
use crate::numbers::{NumberList, in_range};

/// The length of a period of the CPU scheduler's bandwidth control, in microseconds: its default.
pub const CPU_PERIOD: u64 = 100_000;

/// Docker's smallest memory limit. Less is nearly always a slip of the unit.
const LEAST_MEMORY: u64 = 6 << 20;

/// What a container may use. `None` means no limit.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Limits {
    /// Memory, swap included: 100m, 1g, or bytes
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory, allow_hyphen_values = true)]
    pub memory: Option<u64>,
    /// Weight against others when the CPUs are busy; without it 1024
    #[arg(long, alias = "cpushare", value_name = "N", value_parser = parse_cpu_shares, allow_hyphen_values = true)]
    pub cpu_shares: Option<u64>,
    // In microseconds for each CPU_PERIOD.
    /// At most the time of so many CPUs: 0.5, 2
    #[arg(long = "cpus", value_name = "N", value_parser = parse_cpus, allow_hyphen_values = true)]
    pub cpu_quota: Option<u64>,
    /// The CPUs to run on: 0-1,3
    #[arg(long, alias = "cpuset", value_name = "LIST", allow_hyphen_values = true)]
    pub cpuset_cpus: Option<NumberList>,
    /// The memory nodes to use: 0
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub cpuset_mems: Option<NumberList>,
    /// Processes and threads at any one time
    #[arg(long = "pids-limit", value_name = "N", value_parser = parse_pids, allow_hyphen_values = true)]
    pub pids: Option<u64>,
}

impl Limits {
    /// The cgroup controllers that these limits need.
    pub fn controllers(&self) -> Vec<&'static str> {
        let cpu = self.cpu_shares.is_some() || self.cpu_quota.is_some();
        let cpuset = self.cpuset_cpus.is_some() || self.cpuset_mems.is_some();
        [("memory", self.memory.is_some()), ("cpu", cpu), ("cpuset", cpuset), ("pids", self.pids.is_some())]
            .into_iter()
            .filter_map(|(controller, needed)| needed.then_some(controller))
            .collect()
    }
}

/// A limit of memory, in bytes.
pub fn parse_memory(text: &str) -> Result<u64> {
    let bytes = parse_size(text)?;
    ensure!(bytes >= LEAST_MEMORY, "the smallest limit is 6m");
    Ok(bytes)
}

/// A size in bytes: `100m`, `1g`, `65536`. The units are powers of 1024: b, k, m, g.
pub fn parse_size(text: &str) -> Result<u64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => anyhow::bail!("write a size as 100m, 1g or a number of bytes"),
    };
    let number = digits(&text[..text.len() - unit.len()])?;
    // The kernel counts in signed 64-bit numbers.
    let bytes = number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes.with_context(|| format!("{text} is too large"))
}

/// CPU shares, in the range that the kernel takes; outside it, it would quietly choose another value.
pub fn parse_cpu_shares(text: &str) -> Result<u64> {
    in_range(digits(text)?, 2, 262_144)
}

/// A number of processes.
pub fn parse_pids(text: &str) -> Result<u64> {
    in_range(digits(text)?, 1, 4_194_304) // the largest number of process ids a kernel can have
}

/// A number of CPUs such as `1.5`, as microseconds of CPU time in each [`CPU_PERIOD`].
pub fn parse_cpus(text: &str) -> Result<u64> {
    let cpus: f64 = text.parse().with_context(|| format!("{text:?} is not a number of CPUs"))?;
    let most = sysconf(SysconfVar::_NPROCESSORS_ONLN).context("counting CPUs")?.unwrap_or(1) as f64;
    // The kernel gives no less than 1 ms; "nan" is in no range.
    ensure!((0.01..=most).contains(&cpus), "must be from 0.01 to {most}, the CPUs of this machine");
    Ok((cpus * CPU_PERIOD as f64).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_memory("100m").unwrap(), 104_857_600);
        assert_eq!(parse_memory("1G").unwrap(), 1 << 30);
        assert_eq!(parse_memory("6291456").unwrap(), 6 << 20);
        for bad in ["", "m", "10x", "1", "-5m", "1.5g", "10 m", "99999999999999999999g", "9999999999g", "10é"]
        {
            assert!(parse_memory(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cpus_and_numbers() {
        assert_eq!(parse_cpus("0.5").unwrap(), 50_000);
        for bad in ["0", "-1", "nan", "inf", "abc", "1000000"] {
            assert!(parse_cpus(bad).is_err(), "{bad:?}");
        }
        assert!(parse_cpu_shares("1").is_err() && parse_cpu_shares("262145").is_err());
        assert!(parse_pids("0").is_err() && parse_pids("-1").is_err());
    }
}
