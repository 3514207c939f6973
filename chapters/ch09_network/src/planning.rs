//! What a plan is to have besides, so that its container is on a network.

use anyhow::Result;
use ch01_run::namespaces;
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::record::Record;
use ch08_images::formats::Execution;
use nix::sched::CloneFlags;

use crate::cable;
use crate::joined;
use crate::network::Network;
use crate::options::NetworkOptions;

/// The plan of a new container, with what was asked for, and what the image says.
pub fn new(options: &NetworkOptions, says: &Execution, mut plan: Plan) -> Result<Plan> {
    // What we can't publish, as 9000/sctp, isn't exposed.
    let options = options.with_exposed(says.exposed_ports.keys().filter_map(|port| port.parse().ok()));
    options.ensure_sound()?;
    let options = joined::resolved(&options, &plan)?;
    plan.facts.push(options.fact());
    Ok(on(options.network(), plan))
}

/// The plan of a container that has been there before, with what was asked for then.
pub fn again(record: &Record, plan: Plan) -> Result<Plan> {
    Ok(on(NetworkOptions::of(record)?.network(), plan))
}

fn on(network: &Network, plan: Plan) -> Plan {
    let mut namespaces = namespaces::OWN;
    let is_others = network.other().is_some();
    namespaces.set(CloneFlags::CLONE_NEWNET, *network != Network::Host && !is_others);
    let birth = if is_others { joined::birth } else { plan.birth };
    Plan { namespaces, birth, before_start: cable::connect, ..plan }
}
