//! The files by which programs find names and addresses: hosts(5), resolv.conf(5), hostname(5).
//!
//! They are no part of an image, for each container has its own. So they lie in a layer of their own, on the image and
//! below what the container writes: it can change them, and nothing of that is seen in the next one.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use ch07_lifecycle::asked::Plan;
use ch07_lifecycle::lowers::{self, GIVEN};
use ch07_lifecycle::record::Record;
use ch08_images::whiteout::seen;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::cable::{self, Place};
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::resolver::ADDRESS;
use crate::upstream::RESOLV_CONF;

/// What they are called, in /etc.
const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// What every machine knows of itself.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// Writes them, for a container that is about to start, and has these places on networks.
pub fn give(plan: &Plan, record: &Record, options: &NetworkOptions, places: &[Place]) -> Result<()> {
    let of_image = seen(&lowers::told(record)?, OsStr::new("etc"))?; // without what we gave it last time
    let looks = of_image.first().map(|etc| etc.symlink_metadata()).transpose().context("looking at /etc")?;
    if looks.as_ref().is_some_and(|etc| !etc.is_dir()) {
        return Ok(()); // where that leads, only the image's maker knows
    }
    let etc = record.way().join(GIVEN).join("etc");
    forget_changes(record)?;
    fs::create_dir_all(&etc).with_context(|| format!("making {}", etc.display()))?;
    let hostname = [plan.hostname().as_bytes(), b"\n"].concat();
    let texts = [Some(hosts(plan, options, places)?), Some(hostname), resolv_conf(options)?];
    for (name, text) in FILES.iter().zip(texts) {
        text.map_or(Ok(()), |text| write(&etc.join(name), &text))?;
    }
    // Last, for now it's as it will be: where two layers have a directory, the upper one's looks are seen.
    let Some(looks) = looks else { return Ok(()) };
    let times = looks.modified().map(|time| FileTimes::new().set_modified(time));
    chown(&etc, Some(looks.uid()), Some(looks.gid()))
        .and_then(|()| fs::set_permissions(&etc, Permissions::from_mode(looks.mode() & 0o7777)))
        .and_then(|()| File::open(&etc)?.set_times(times?))
        .with_context(|| format!("having {} look as the image's", etc.display()))
}

/// What the container made of them last time is gone: it has another address now, perhaps. Its own files are a
/// stranger's, so no link in there is followed.
fn forget_changes(record: &Record) -> Result<()> {
    let forgetting = || format!("looking for /etc in {}", record.path("upper").display());
    let upper = File::open(record.way().join("upper")).with_context(forgetting)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let etc = match openat2(&upper, "etc", how) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        etc => etc.with_context(forgetting)?,
    };
    for name in FILES {
        match unlinkat(&etc, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => {}
            Err(errno) => return Err(errno).with_context(|| format!("removing the changed /etc/{name}")),
        }
    }
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Names with an address that is known without asking anybody.
fn hosts(plan: &Plan, options: &NetworkOptions, places: &[Place]) -> Result<Vec<u8>> {
    let of_host = if *options.network() == Network::Host { of_host("/etc/hosts")? } else { None };
    let mut text = of_host.unwrap_or_else(|| LOCALHOST.to_string());
    let gateway = cable::outward(places).map_or(Ipv4Addr::LOCALHOST, |place| place.bridge.subnet.gateway);
    for host in options.hosts() {
        text.push_str(&format!("{}\t{}\n", host.address(gateway), host.name));
    }
    for place in places {
        for address in place.addresses() {
            text.push_str(&format!("{address}\t{}\n", plan.hostname().display()));
        }
    }
    Ok(text.into_bytes())
}

/// Who is to be asked. `None` if the host has no such file.
fn resolv_conf(options: &NetworkOptions) -> Result<Option<Vec<u8>>> {
    let of_host = of_host(RESOLV_CONF)?;
    if matches!(options.network(), Network::Named(_) | Network::Nowhere) {
        let text = of_host.unwrap_or_default();
        let search = text.lines().filter(|line| line.starts_with("search") || line.starts_with("domain"));
        let search: String = search.map(|line| format!("{line}\n")).collect();
        // A name without a dot is asked for as it is before anything is put behind it: containers have such names.
        return Ok(Some(format!("nameserver {ADDRESS}\n{search}options ndots:0\n").into_bytes()));
    }
    let given: String = options.dns().iter().map(|server| format!("nameserver {server}\n")).collect();
    Ok(if given.is_empty() { of_host } else { Some(given) }.map(String::into_bytes))
}

/// A file of the host, if it's there.
fn of_host(path: &str) -> Result<Option<String>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => {
            let bytes = read.with_context(|| format!("reading {path}"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}
