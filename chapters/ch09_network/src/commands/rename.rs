//! `rename`: another name for a container, on its network, too.

use anyhow::Result;
use ch07_lifecycle::commands::rename;
pub use ch07_lifecycle::commands::rename::Args;
use ch07_lifecycle::process1::Process1;
use ch07_lifecycle::record::Record;
use nix::sys::socket::SockProtocol::NetlinkRoute;

use crate::netlink::Netlink;
use crate::options::NetworkOptions;
use crate::{addresses, cable, links, neighbours};

/// All that `rename` does, in order.
pub fn rename(args: &Args) -> Result<u8> {
    rename::rename_as(args, tell_network)
}

/// Writes the new name on the container's cable, if it has one.
fn tell_network(record: &Record) -> Result<()> {
    let number = Process1::of(record)?.map(|process| cable::number_of(process.pid())).transpose()?.flatten();
    let Some(number) = number else { return Ok(()) };
    let text = neighbours::text(record, NetworkOptions::of(record)?.aliases())?;
    links::set_alias(&Netlink::open(NetlinkRoute)?, &addresses::cable(number), &text)
}
