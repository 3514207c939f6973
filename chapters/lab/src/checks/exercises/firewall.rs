//! `network create --allow-from`: a door between two networks.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use nix::libc::ECONNREFUSED;

use super::server::{Server, datagrams};
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::checks::network::names::named;
use crate::checks::network::networks::{make, only_networks};
use crate::checks::network::world::nft;
use crate::checks::network::{end_in, interfaces};
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "firewall",
        Network,
        "--allow-from NETWORK:PORT lets containers of that network come to that port, and they are seen with their own addresses.",
        open,
    )
    .exercise("firewall"),
    Check::new(
        "firewall-shut",
        Network,
        "Nobody else comes in, nor to another port, nor by another protocol; and nobody comes out.",
        shut,
    )
    .exercise("firewall"),
    Check::new(
        "firewall-answers",
        Network,
        "Answers find their way back, errors too; what only comes from the same port is no answer.",
        answers,
    )
    .exercise("firewall"),
    Check::new(
        "firewall-next",
        Network,
        "Who has been let in is that network: when it's gone, no other that is made in its place.",
        next,
    )
    .exercise("firewall"),
    Check::new(
        "firewall-bad",
        Network,
        "A network that there is not, what is no port, and an internal network on either side are refused, and nothing is made.",
        bad,
    )
    .exercise("firewall"),
];

/// The one that may come in, and the one that is come to.
const SHOP: &str = "172.30.1.";
const STORE: &str = "172.30.2.";

/// The doors of the second one.
const DOORS: [&str; 4] =
    ["--allow-from", "shop:5432", "--allow-from=shop:5433/tcp", "--allow-from=shop:514/udp"];

/// Two networks, `shop` and `store`, and the doors between them; on each a container.
fn two(lab: &Lab) -> Result<(Kept<'_>, Kept<'_>)> {
    make(lab, &[], "shop")?;
    make(lab, &DOORS, "store")?;
    Ok((named(lab, "till", &["--network", "shop"])?, named(lab, "db", &["--network", "store"])?))
}

fn address(one: &Kept<'_>, begins: &str) -> Result<Ipv4Addr> {
    Ok(end_in(one, begins, 24)?.address.parse()?)
}

fn open(lab: &Lab) -> Result<()> {
    let (till, db) = two(lab)?;
    let second = named(lab, "second", &["--network", "shop"])?;
    let at = address(&db, STORE)?;
    for server in [Server::tcp(&db, 5432)?, Server::tcp(&db, 5433)?, Server::udp(&db, 514)?] {
        for one in [&till, &second] {
            server.must_see(one, 0, at, Some(address(one, SHOP)?))?;
        }
    }
    Ok(())
}

fn shut(lab: &Lab) -> Result<()> {
    let (till, db) = two(lab)?;
    make(lab, &[], "other")?;
    let beside = named(lab, "beside", &["--network", "store"])?;
    let mate = named(lab, "mate", &["--network", "shop"])?;
    let strangers = [named(lab, "stranger", &["--network", "other"])?, named(lab, "default", &[])?];
    let (at, own) = (address(&db, STORE)?, address(&beside, STORE)?);
    // Whether a server is there, its neighbour knows.
    for server in [Server::tcp(&db, 5434)?, Server::tcp(&db, 514)?, Server::udp(&db, 5432)?] {
        server.must_see(&beside, 0, at, Some(own))?;
        server.must_see(&till, 0, at, None)?;
    }
    for server in [Server::tcp(&db, 5432)?, Server::udp(&db, 514)?] {
        server.must_see(&beside, 0, at, Some(own))?;
        strangers.iter().try_for_each(|one| server.must_see(one, 0, at, None))?;
    }
    let (at, own) = (address(&till, SHOP)?, address(&mate, SHOP)?);
    for server in [Server::tcp(&till, 5432)?, Server::udp(&till, 514)?] {
        server.must_see(&mate, 0, at, Some(own))?;
        server.must_see(&db, 0, at, None)?;
    }
    Ok(())
}

fn answers(lab: &Lab) -> Result<()> {
    let (till, db) = two(lab)?;
    let mate = named(lab, "mate", &["--network", "shop"])?;
    let (here, there, own) = (address(&till, SHOP)?, address(&db, STORE)?, address(&mate, SHOP)?);
    for (door, server) in [(5432, Server::tcp(&till, 99)?), (514, Server::udp(&till, 99)?)] {
        server.must_see(&mate, 0, here, Some(own))?;
        server.must_see(&db, door, here, None)?; // from the port whose answers are let through
    }
    Server::tcp(&db, 5432)?.must_see(&till, 0, there, Some(here))?;
    Server::udp(&db, 514)?.must_see(&till, 0, there, Some(here))?;
    // Nobody is at that port now, and the container's kernel says so.
    let client = datagrams(&till, 0)?;
    client.connect((there, 514))?;
    client.send(b"hello?").context("asking")?;
    let error = client.recv(&mut [0; 100]).err().and_then(|error| error.raw_os_error());
    let did = format!("{}; then it asks {there}, at port 514/udp, where nobody listens", till.line());
    see::same(did, "the error:", Some(ECONNREFUSED), error)
}

fn next(lab: &Lab) -> Result<()> {
    let (till, db) = two(lab)?;
    let beside = named(lab, "beside", &["--network", "store"])?;
    let (here, there) = (address(&till, SHOP)?, address(&db, STORE)?);
    let server = Server::tcp(&db, 5432)?;
    server.must_see(&till, 0, there, Some(here))?;
    till.remove()?;
    lab.says("network", ["rm", "shop"], "shop\n")?;
    make(lab, &[], "other")?;
    let another = named(lab, "another", &["--network", "other"])?;
    address(&another, SHOP)?; // it has the place of the one that's gone
    server.must_see(&beside, 0, there, Some(address(&beside, STORE)?))?;
    server.must_see(&another, 0, there, None)
}

fn bad(lab: &Lab) -> Result<()> {
    make(lab, &[], "shop")?;
    make(lab, &["--internal"], "vault")?;
    make(lab, &["--allow-from", "shop:80"], "store")?; // else everything would be refused
    let before = (interfaces(None)?, nft(&["list", "ruleset"])?);
    let with = |word: &'static str| ["create", "--allow-from", "shop:80", "--allow-from", word, "new"];
    lab.refuses("network", with("nonet:80"), "No such network: nonet")?;
    lab.refuses("network", with("vault:80"), "vault")?;
    for word in
        ["", "shop", "shop:", ":80", "shop:0", "shop:65536", "shop:-1", "shop:x", "shop:80/icmp", "shop:80/"]
    {
        lab.call("network", with(word)).finish()?.refuses(&[1, 125])?;
    }
    // Nothing could leave it, not even an answer.
    let both = ["create", "--internal", "--allow-from", "shop:80", "new"];
    lab.call("network", both).finish()?.refuses(&[1, 125])?;
    let after = (interfaces(None)?, nft(&["list", "ruleset"])?);
    see::same("network create --allow-from, with bad words", "interfaces and rules:", before, after)?;
    only_networks(lab, &["shop", "vault", "store"])
}
