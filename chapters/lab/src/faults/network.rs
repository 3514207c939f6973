//! The calls by which a container gets its network: each fails once, and at each its caller is killed. Afterwards the command
//! has had its whole network or has not run, and no cable stays.

use std::net::TcpListener;

use anyhow::Result;
use nix::errno::Errno;

use super::calls::{self, Call, all_right, part_of};
use super::tracer::{self, What};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::network::only_cables;
use crate::checks::network::world::nft;
use crate::see::{self, SOON, wait_for};
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

/// Those by which one talks to the network code, goes into namespaces, and makes processes and threads that serve.
const CALLS: [&str; 16] = [
    "socket",
    "bind",
    "listen",
    "connect",
    "getsockname",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "setns",
    "clone",
    "clone3",
    "fork",
    "pipe2",
    "close_range",
    "accept4",
];

/// One address, and one way out.
const SCRIPT: &str = "ip -4 -o address show eth0 | grep -c 172.30.0.; ip route | grep -c default";
const WHOLE: &str = "1\n1\n";

fn run<'a>(lab: &'a Lab, options: &[&str]) -> Run<'a> {
    lab.sh(SCRIPT).with(options).variable("RUST_BACKTRACE", "0")
}

fn sweep(lab: &Lab, what: What) -> Result<()> {
    strace::required()?;
    lab.run(["true"]).finish()?.succeeds()?; // the image is there, and the bridge, and its rules
    sweep_with(lab, what, &[])?;
    sweep_with(lab, what, &["-p", "8080:80"])
}

fn sweep_with(lab: &Lab, what: What, options: &[&str]) -> Result<()> {
    let rules = nft(&["list", "ruleset"])?;
    let seen = tracer::carry_out(run(lab, options), None, false, &|| {})?;
    seen.outcome.succeeds()?.prints(WHOLE)?;
    let names = calls::names(lab, &[], run(lab, options))?;
    free_again(&rules)?;
    let mut own = calls::own(lab, &seen.calls, &names)?;
    own.retain(|call| CALLS.contains(&call.name.as_str()));
    let own = part_of(&own)?;
    let (mut hits, mut wrong) = (0, Vec::new());
    for call in &own {
        let done = one(lab, call, what, options).and_then(|hit| free_again(&rules).map(|()| hit));
        match done {
            Ok(hit) => hits += usize::from(hit),
            Err(error) => wrong.push((call, error)),
        }
    }
    println!("run: {} calls, {hits} of them reached", own.len());
    all_right(&run(lab, options).line(), &wrong)?;
    see::same("the sweep", "nearly all of the calls reached:", true, hits * 10 >= own.len() * 9)?;
    lab.run(["true"]).with(options).finish()?.succeeds().map(drop)
}

/// The port is free, and the rules are as they were.
fn free_again(rules: &str) -> Result<()> {
    let did = "the run, after its end";
    let is_free = || Ok(TcpListener::bind("0.0.0.0:8080").is_ok().then_some(()));
    see::same(did, "port 8080 to be free:", true, wait_for(SOON, is_free)?.is_some())?;
    wait_for(SOON, || Ok((nft(&["list", "ruleset"])? == rules).then_some(())))?;
    see::same(did, "all rules", rules, &nft(&["list", "ruleset"])?)
}

/// Returns whether the run got to the call.
fn one(lab: &Lab, call: &Call, what: What, options: &[&str]) -> Result<bool> {
    let seen = tracer::carry_out(run(lab, options), Some(call.fault(what)), false, &|| {})?;
    let outcome = seen.outcome;
    match outcome.status.code() {
        Some(0) => drop(outcome.prints(WHOLE)?),
        // It had its network, and then it could not be told how it went on.
        Some(125 | 137) if !outcome.output().is_empty() && WHOLE.starts_with(&outcome.output()) => {}
        Some(137) if what == What::Kills => drop(outcome.prints("")?),
        Some(_) => drop(outcome.refuses(&[125])?),
        None => see::same(&outcome.line, "the run to be killed:", What::Kills, what)?,
    }
    see::same(&outcome.line, "processes left:", 0, lab.mark().gone(SOON).len())?;
    only_cables(&outcome.line, &[])?;
    Ok(seen.hit)
}
