//! Containers on networks that a user has made: `--network NAME`.

use anyhow::Result;
use serde_json::json;

use super::asker::Asker;
use super::dns::{NOERROR, PTR, reversed};
use super::names::named;
use super::networks::{make, only_networks};
use super::ports::answers;
use super::world::{UPLINK, far_away};
use super::{End, addresses, asked, end, end_at, end_in, interfaces, leads_by, seen, server};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "net-run",
        Network,
        "--network NAME puts a container on that network: an address of its subnet, its gateway, a cable in its bridge.",
        run,
    ),
    Check::new(
        "net-names",
        Network,
        "Names are found by containers of the same network, and by no others.",
        names,
    ),
    Check::new(
        "net-ports",
        Network,
        "A container on a network of the user's publishes ports as others do: for the host, and for who comes from outside.",
        ports,
    ),
    Check::new(
        "net-unknown",
        Network,
        "run on a network that there is not refuses with 125, and network rm and inspect with 1; nothing stays.",
        unknown,
    ),
    Check::new(
        "net-gone-start",
        Network,
        "start of a container whose network has gone fails and says which one; when the network is back, it starts.",
        gone_start,
    ),
    Check::new(
        "net-container-inspect",
        Network,
        "inspect of a container tells its network by name, with its address, its gateway and its aliases there.",
        inspect,
    ),
];

/// Fails unless the container is on this network, as its address, its route and its cable say.
pub(super) fn is_on(one: &Kept<'_>, bridge: &str, begins: &str) -> Result<()> {
    plugged(one, "eth0", bridge, begins)?;
    leads_by(one.line(), one, &[&format!("{begins}1")])
}

/// The container's end of a cable that has to be in this bridge.
pub(super) fn plugged(one: &Kept<'_>, interface: &str, bridge: &str, begins: &str) -> Result<End> {
    let found = end_at(one, interface, begins, 24)?;
    let own = found.address.replacen(begins, &format!("{bridge}-"), 1);
    let plugged = seen(&own)?["master"].clone();
    see::same(one.line(), &format!("what {own} is plugged into:"), Some(bridge), plugged.as_str())?;
    Ok(found)
}

fn run(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &["--subnet", "10.9.8.0/24"], "two")?;
    let one = named(lab, "ann", &["--network", "one"])?;
    is_on(&one, "byhand1", "172.30.1.")?;
    let two = named(lab, "bob", &["--network=two"])?;
    is_on(&two, "byhand2", "10.9.8.")?;
    for network in ["bridge", "default"] {
        end(&named(lab, network, &["--network", network])?)?;
    }
    lab.says("stop", ["-t", "0", two.id()], &format!("{}\n", two.id()))?;
    lab.says("start", [two.id()], &format!("{}\n", two.id()))?;
    is_on(&two, "byhand2", "10.9.8.")?;
    let script = "ip -4 -o address show eth0 | grep -c 172.30.1; sleep 0.1; exit 1";
    let restarts =
        lab.kept(["sh", "-c", script]).with(["--restart", "on-failure:1", "--network", "one"]).detach()?;
    restarts.exits(1)?;
    restarts.logs()?.prints("1\n1\n").map(drop)
}

fn names(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    make(lab, &[], "two")?;
    let on = |name, network| named(lab, name, &["--network-alias", "web", "--network", network]);
    let (a, b, c, d) = (on("ann", "one")?, on("bob", "one")?, on("cat", "two")?, on("dan", "bridge")?);
    let [of_a, of_b] = [&a, &b].map(|one| end_in(one, "172.30.1.", 24));
    let (of_a, of_b) = (of_a?.address, of_b?.address);
    let (of_c, of_d) = (end_in(&c, "172.30.2.", 24)?.address, end(&d)?.address);
    for one in [&a, &b] {
        let asker = Asker::of(one)?;
        asker.finds("ann", &[&of_a])?;
        asker.finds(b.id(), &[&of_b])?;
        asker.finds("web", &[&of_a, &of_b])?;
        asker.hears(&reversed(&of_b), PTR, NOERROR, &["bob"])?;
        for name in ["cat", "dan", c.id(), d.id()] {
            asker.finds(name, &[])?;
        }
    }
    for (one, own) in [(&c, &of_c), (&d, &of_d)] {
        let asker = Asker::of(one)?;
        asker.finds("web", &[own])?;
        asker.finds(one.id(), &[own])?;
        for name in ["ann", "bob", a.id()] {
            asker.finds(name, &[])?;
        }
    }
    Ok(())
}

fn ports(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    let one = server(lab, &["--network", "one", "-p", "8080:80"], "hello")?;
    let ask = |ready: &dyn Fn()| {
        ready();
        asked(&format!("{UPLINK}:8080"))
    };
    for address in ["127.0.0.1:8080", "172.30.1.1:8080"] {
        answers(&one, address, "hello\n")?;
    }
    let ((), answer) = far_away(ask, || Ok(()))?;
    let says = answer.ends_with("hello\n");
    if says { Ok(()) } else { Err(one.differs("\"hello\\n\" for somebody outside", answer)) }
}

fn unknown(lab: &Lab) -> Result<()> {
    lab.run(["true"]).with(["--network", "none"]).finish()?.succeeds()?; // the image is there
    make(lab, &[], "one")?;
    let before = interfaces(None)?;
    for name in ["nonet", "ONE", "byhand1"] {
        let no_such = format!("No such network: {name}");
        for run in [lab.run(["true"]), lab.kept(["sleep", "1000"]).with(["-d"])] {
            run.with(["--network", name]).finish()?.refuses(&[125])?.mentions(&no_such)?;
        }
        lab.refuses("network", ["rm", name], &no_such)?;
        lab.call("network", ["inspect", name]).finish()?.exits(1)?.mentions(&no_such)?;
    }
    let did = "run on networks that there are not";
    see::same(did, "containers that are left:", Vec::new(), lab.containers())?;
    see::same(did, "the host's interfaces:", before, interfaces(None)?)?;
    only_networks(lab, &["one"])
}

fn gone_start(lab: &Lab) -> Result<()> {
    make(lab, &[], "one")?;
    let one = named(lab, "ann", &["--network", "one"])?;
    is_on(&one, "byhand1", "172.30.1.")?;
    lab.says("stop", ["-t", "0", one.id()], &format!("{}\n", one.id()))?;
    lab.says("network", ["rm", "one"], "one\n")?; // whoever has ended is not on it
    let begun = lab.call("start", [one.id()]).finish()?;
    begun.refuses(&[1])?.mentions("network: one")?;
    one.becomes("exited")?;
    only_networks(lab, &[])?;
    make(lab, &["--subnet", "10.9.8.0/24"], "one")?; // of the same name, that is
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    is_on(&one, "byhand1", "10.9.8.")?;
    see::same(
        one.line(),
        "the bridge's addresses:",
        vec!["10.9.8.1/24".to_string()],
        addresses(&seen("byhand1")?),
    )
}

fn inspect(lab: &Lab) -> Result<()> {
    make(lab, &["--subnet", "10.10.0.0/16", "--gateway", "10.10.7.7"], "one")?;
    let words = ["--network", "one", "--network-alias", "web", "--network-alias", "www"];
    let one = named(lab, "ann", &words)?;
    let two = named(lab, "bob", &[])?;
    let there = |one: &Kept<'_>, name: &str, found: End, gateway: &str, length: u8, aliases: &[&str]| {
        let known = one.inspected()?;
        see::same(one.line(), "NetworkMode", &json!(name), &known["HostConfig"]["NetworkMode"])?;
        let all = &known["NetworkSettings"]["Networks"];
        let networks: Vec<_> = all.as_object().into_iter().flat_map(|all| all.keys()).collect();
        see::same(one.line(), "the networks in inspect:", vec![&name.to_string()], networks)?;
        let here = &all[name];
        let told =
            ["IPAddress", "Gateway", "IPPrefixLen", "MacAddress", "Aliases"].map(|key| here[key].clone());
        let expected =
            [json!(found.address), json!(gateway), json!(length), json!(found.mac), json!(aliases)];
        see::same(one.line(), "address, gateway, length, hardware address and aliases:", expected, told)
    };
    there(&one, "one", end_in(&one, "10.10.", 16)?, "10.10.7.7", 16, &["web", "www"])?;
    there(&two, "bridge", end(&two)?, "172.30.0.1", 24, &[])
}
