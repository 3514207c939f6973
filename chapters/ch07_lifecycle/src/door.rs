//! Where a keeper is found: a socket in the record. unix(7), listen(2), accept(2), connect(2).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};

use crate::record::Record;

/// A socket in the record, at which clients find the keeper.
pub fn listen_at(record: &Record) -> Result<OwnedFd> {
    record.forget("attach")?; // of a keeper that was killed
    let context = || format!("listening at {}", record.path("attach").display());
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).with_context(context)?;
    debug!("bind({:?}), listen()", record.path("attach"));
    bind(listener.as_raw_fd(), &UnixAddr::new(&record.way().join("attach"))?).with_context(context)?;
    listen(&listener, Backlog::new(128)?).with_context(context)?;
    Ok(listener)
}

/// The socket of whoever has come there, if somebody has.
pub fn accept(listener: &OwnedFd) -> Result<Option<OwnedFd>> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        // SAFETY: the kernel has just made this descriptor, for us alone.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
        Err(errno) => Err(errno).context("accepting a client"),
    }
}

/// A client's way to a keeper. `None` if there is no keeper.
pub fn connect_to(record: &Record) -> Result<Option<OwnedFd>> {
    let context = || format!("connecting to {}", record.path("attach").display());
    match fs::symlink_metadata(record.path("attach")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        data => data.with_context(context)?,
    };
    let (_directory, path) = short_path(record)?;
    let ours = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .with_context(context)?;
    match connect(ours.as_raw_fd(), &UnixAddr::new(&path)?) {
        Ok(()) => Ok(Some(ours)),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).with_context(context),
    }
}

/// The address of a socket has room for 107 bytes, and a path may be longer: /proc leads there from an open directory.
fn short_path(record: &Record) -> Result<(File, PathBuf)> {
    let open = File::open(record.directory());
    let directory = open.with_context(|| format!("opening {}", record.directory().display()))?;
    let path = format!("/proc/self/fd/{}/attach", directory.as_raw_fd());
    Ok((directory, path.into()))
}
