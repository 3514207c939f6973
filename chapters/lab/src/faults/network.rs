//! The calls by which a container gets its network: each fails once, and at each its caller is killed. Afterwards the command
//! has had its whole network or has not run, and no cable stays.

use anyhow::Result;
use nix::errno::Errno;

use super::calls::{self, Call, all_right, part_of};
use super::tracer::{self, What};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::network::only_cables;
use crate::see::{self, SOON};
use crate::trial::runtime::{Lab, Run};
use crate::trial::strace;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "network-call-fails",
        Network,
        "Whichever call to the kernel's network code fails, the command has its network or does not run, and no cable stays.",
        |lab| sweep(lab, What::Fails(Errno::EPERM)),
    ),
    Check::new(
        "network-killed",
        Network,
        "Whoever is killed before any call to the kernel's network code, no cable stays, and the next run works.",
        |lab| sweep(lab, What::Kills),
    ),
];

/// Those by which one talks to the network code, and goes into namespaces.
const CALLS: [&str; 9] =
    ["socket", "bind", "connect", "sendto", "recvfrom", "sendmsg", "recvmsg", "setns", "clone"];

/// One address, and one way out.
const SCRIPT: &str = "ip -4 -o address show eth0 | grep -c 172.30.0.; ip route | grep -c default";
const WHOLE: &str = "1\n1\n";

fn run(lab: &Lab) -> Run<'_> {
    lab.sh(SCRIPT).variable("RUST_BACKTRACE", "0")
}

fn sweep(lab: &Lab, what: What) -> Result<()> {
    strace::required()?;
    lab.run(["true"]).finish()?.succeeds()?; // the image is there, and the bridge
    let seen = tracer::carry_out(run(lab), None, false, &|| {})?;
    seen.outcome.succeeds()?.prints(WHOLE)?;
    let mut own = calls::own(lab, &seen.calls, &calls::names(lab, &[], lab.run(["true"]))?)?;
    own.retain(|call| CALLS.contains(&call.name.as_str()));
    let own = part_of(&own)?;
    let (mut hits, mut wrong) = (0, Vec::new());
    for call in &own {
        match one(lab, call, what) {
            Ok(hit) => hits += usize::from(hit),
            Err(error) => wrong.push((call, error)),
        }
    }
    println!("run: {} calls, {hits} of them reached", own.len());
    all_right(&run(lab).line(), &wrong)?;
    see::same("the sweep", "nearly all of the calls reached:", true, hits * 10 >= own.len() * 9)?;
    lab.run(["true"]).finish()?.succeeds().map(drop)
}

/// Returns whether the run got to the call.
fn one(lab: &Lab, call: &Call, what: What) -> Result<bool> {
    let seen = tracer::carry_out(run(lab), Some(call.fault(what)), false, &|| {})?;
    let outcome = seen.outcome;
    match outcome.status.code() {
        Some(0) => drop(outcome.prints(WHOLE)?),
        // It had its network, and then it could not be told how it went on.
        Some(125 | 137) if !outcome.output().is_empty() && WHOLE.starts_with(&outcome.output()) => {}
        Some(_) => drop(outcome.refuses(&[125, 137])?),
        None => see::same(&outcome.line, "the run to be killed:", What::Kills, what)?,
    }
    see::same(&outcome.line, "processes left:", 0, lab.mark().gone(SOON).len())?;
    only_cables(&outcome.line, &[])?;
    Ok(seen.hit)
}
