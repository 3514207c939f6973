//! What a container uses: from its cgroups where they count it, else from its processes. proc_pid_cmdline(5),
//! proc_pid_statm(5).

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::groups::Groups;
use crate::proc_stat::Stat;

/// What /proc tells of one process.
#[derive(Debug)]
pub struct Process {
    /// Its number on the host.
    pub pid: Pid,
    /// That of its parent.
    pub parent: String,
    /// The number of its user.
    pub user: u32,
    /// When it began, in ticks since the machine started.
    pub start: u64,
    /// The time that it has had of a CPU, in ticks.
    pub own_time: u64,
    /// The same, with that of the children that it has waited for.
    pub whole_time: u64,
    /// Its command and arguments; a thread of the kernel, or one that is ending, has only a name in brackets.
    pub command: String,
}

impl Process {
    /// Looks at a process. `None` if it has just ended.
    pub fn look(pid: Pid) -> Option<Process> {
        let user = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let stat = Stat::read(pid).ok()?;
        let number = |field| stat.field(field)?.parse::<u64>().ok();
        let own_time = number(14)? + number(15)?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = match line.strip_suffix(b"\0").unwrap_or(&line) {
            [] => format!("[{}]", stat.name()?),
            words => String::from_utf8_lossy(words).replace('\0', " "),
        };
        let (parent, start) = (stat.field(4)?.to_string(), number(22)?);
        let whole_time = own_time + number(16)? + number(17)?;
        Some(Process { pid, parent, user, start, own_time, whole_time, command })
    }
}

/// How many ticks a second has, for the times above.
pub fn ticks() -> Result<u64> {
    Ok(sysconf(SysconfVar::CLK_TCK).context("asking for the clock's ticks")?.unwrap_or(100) as u64)
}

/// The CPU time that a container has used so far, in nanoseconds.
pub fn cpu_time(groups: &Groups) -> Result<u64> {
    // Version 2 counts it in every cgroup; version 1 where there is a controller for it.
    if let Some(text) = groups.read("cpuacct", "cpuacct.usage", "cpu.stat")? {
        let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let counted =
            microseconds.map_or(text.trim().parse().ok(), |text| Some(text.parse::<u64>().ok()? * 1000));
        return counted.context("reading the CPU time of a cgroup");
    }
    // Whoever has ended was waited for, at last by process 1; its time counts as that of who did.
    let times = groups.processes()?.into_iter().filter_map(Process::look).map(|process| process.whole_time);
    Ok(times.sum::<u64>() * 1_000_000_000 / ticks()?)
}

/// The memory that a container uses, in bytes, without what the kernel keeps of files only because there is room for it.
pub fn memory(groups: &Groups) -> Result<u64> {
    if let Some(text) = groups.read("memory", "memory.usage_in_bytes", "memory.current")? {
        let stat = groups.read("memory", "memory.stat", "memory.stat")?.unwrap_or_default();
        let value =
            |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let spare = value("total_inactive_file ").or(value("inactive_file ")).unwrap_or(0);
        let bytes: u64 = text.trim().parse().context("reading the memory of a cgroup")?;
        return Ok(bytes.saturating_sub(spare));
    }
    // Without a limit nobody counts it. What the processes have for themselves alone comes nearest.
    let page =
        sysconf(SysconfVar::PAGE_SIZE).context("asking for the size of a page")?.unwrap_or(4096) as u64;
    let own = |pid: Pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut pages = text.split(' ').skip(1).map(|number| number.parse::<u64>().ok());
        pages.next()??.checked_sub(pages.next()??)
    };
    Ok(groups.processes()?.into_iter().filter_map(own).sum::<u64>() * page)
}

/// The most memory that a container can have, in bytes: its limit, or all of this machine's.
pub fn memory_limit(groups: &Groups) -> Result<u64> {
    let limit = groups.read("memory", "memory.limit_in_bytes", "memory.max")?;
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let all: u64 = line.and_then(|number| number.parse().ok()).context("/proc/meminfo has no MemTotal")?;
    Ok(limit.min(all * 1024))
}
