//! The system calls of a run, one by one: what faults fall on.

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::tracer::{self, Fault, What, Who};
use crate::trial::runtime::{Lab, Run};
use crate::trial::strace;

/// One call of the runtime's own, after what the loader and the language do at each start.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) who: Who,
    /// The kernel's number of the call.
    pub(super) call: u64,
    /// Which of the process's calls of this number.
    pub(super) occurrence: usize,
    pub(super) name: String,
}

impl Call {
    /// Whether it is the same process's call of the same name.
    pub(super) fn is_like(&self, other: &Call) -> bool {
        (self.who, self.call) == (other.who, other.call)
    }

    /// The fault that falls on it.
    pub(super) fn fault(&self, what: What) -> Fault {
        Fault { who: self.who, call: self.call, occurrence: self.occurrence, what }
    }

    /// For messages: `the child's openat number 3`.
    pub(super) fn described(&self) -> String {
        let whose = match self.who {
            Who::Parent => "run's",
            Who::Child => "the child's",
            Who::Helper => "a helper's",
        };
        format!("{whose} {} number {}", self.name, self.occurrence)
    }
}

/// The runtime's own calls, of all that it made in an undisturbed run.
pub(super) fn own(lab: &Lab, calls: &[(Who, u64)], names: &HashMap<u64, String>) -> Result<Vec<Call>> {
    let start = tracer::carry_out(lab.run(["--help"]), None, false, &|| {})?.calls;
    let startup = start.iter().zip(calls).take_while(|(one, other)| one == other).count();
    let mut occurrences: HashMap<(Who, u64), usize> = HashMap::new();
    let mut own = Vec::new();
    for (index, &(who, call)) in calls.iter().enumerate() {
        let occurrence = *occurrences.entry((who, call)).and_modify(|count| *count += 1).or_insert(1);
        if index < startup {
            continue;
        }
        // The first is made only where processes copy for a terminal.
        let unnamed =
            || if call == nix::libc::SYS_kill as u64 { "kill".into() } else { format!("call-{call}") };
        let name = names.get(&call).cloned().unwrap_or_else(unnamed);
        own.push(Call { who, call, occurrence, name });
    }
    Ok(own)
}

/// The names of a run's calls by their numbers, as strace has them.
pub(super) fn names(lab: &Lab, options: &[&str], run: Run<'_>) -> Result<HashMap<u64, String>> {
    let mut names = HashMap::new();
    let options: Vec<_> = ["-n"].into_iter().chain(options.iter().copied()).collect();
    for run in [run, lab.run(["--help"])] {
        let (_, trace) = strace::traced(lab, &options, run)?;
        for line in trace.lines() {
            // 4711  [ 257] openat(...
            let Some((number, rest)) = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')) else {
                continue;
            };
            let name = rest.trim_start().split('(').next().unwrap_or_default();
            if let Ok(number) = number.trim().parse()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                names.insert(number, name.to_string());
            }
        }
    }
    Ok(names)
}

/// Of the calls that a process makes of one name, so many at most, from the first to the last.
pub(super) fn some_of_each(calls: &[Call], most: usize) -> Vec<Call> {
    let mut seen: HashMap<(Who, u64), usize> = HashMap::new();
    let mut some = calls.to_vec();
    some.retain(|call| {
        let count = calls.iter().filter(|other| other.is_like(call)).count();
        let number = seen.entry((call.who, call.call)).or_default();
        *number += 1;
        // Each goes into one of so many parts of equal size; the first of a part is chosen, and the very last.
        let part = |number: usize| number * (most - 1) / count;
        count <= most || *number == count || part(*number) != part(*number - 1) || *number == 1
    });
    some
}

/// The part of the calls that `LAB_FAULTS` asks for.
pub(super) fn part_of(calls: &[Call]) -> Result<Vec<Call>> {
    crate::part::part_of("LAB_FAULTS", calls)
}

/// Fails with all that went wrong, each with the fault that it came from.
pub(super) fn all_right(line: &str, wrong: &[(&Call, anyhow::Error)]) -> Result<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    let each: Vec<_> =
        wrong.iter().map(|(call, error)| format!("at {}:\n{error:#}", call.described())).collect();
    bail!("{} faults with a wrong end:\n{}\nThe run: {line}", wrong.len(), each.join("\n"))
}
