//! The first process of a container, as one that nobody mistakes: pidfd_open(2), pidfd_send_signal(2).
//!
//! A number alone proves nothing: when a process is gone, the kernel gives its number to another. So first comes a
//! descriptor for whoever has the number now, which stays his; then the look whether he is the one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use anyhow::{Context, Result};
use log::debug;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::proc_stat::Stat;
use crate::record::Record;

/// Process 1 of a container that lives.
#[derive(Debug)]
pub struct Process1 {
    pid: Pid,
    open: OwnedFd,
}

impl Process1 {
    /// That of a container, or `None` if nobody keeps it, or it has just ended.
    pub fn of(record: &Record) -> Result<Option<Process1>> {
        let Some(fact) = record.read("pid")? else { return Ok(None) };
        let numbers = fact.split_once(' ').and_then(|(pid, start)| Some((pid.parse().ok()?, start)));
        let Some((pid, start)) = numbers.filter(|(pid, _): &(i32, _)| *pid > 1) else { return Ok(None) };
        let pid = Pid::from_raw(pid);
        let Some(open) = open(pid)? else { return Ok(None) };
        // In this order. The keeper reaps it before it lets go of the lock: if the lock is held now, and the process that
        // we have open began when the fact says, then it's the one.
        let is_it = start_time(pid).is_ok_and(|time| time == start) && record.lives()?;
        Ok(is_it.then_some(Process1 { pid, open }))
    }

    /// Its number on the host. Good for messages and for /proc.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal. No error if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.send(signal as i32)
    }

    /// Sends it a signal by number: real-time signals have no name.
    pub fn send(&self, signal: i32) -> Result<()> {
        debug!("pidfd_send_signal({}, {signal})", self.pid);
        // SAFETY: the call reads no memory of ours: nothing more is told of the signal.
        let sent = unsafe {
            let nothing = ptr::null::<libc::siginfo_t>();
            libc::syscall(libc::SYS_pidfd_send_signal, self.open.as_raw_fd(), signal, nothing, 0)
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => {
                Err(errno).with_context(|| format!("sending signal {signal} to process {}", self.pid))
            }
        }
    }
}

impl AsFd for Process1 {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

/// A descriptor for the process that has this number now. `None` if none has.
fn open(pid: Pid) -> Result<Option<OwnedFd>> {
    debug!("pidfd_open({pid})");
    // SAFETY: the call reads no memory of ours.
    match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) }) {
        // SAFETY: the kernel has just made this descriptor, for us alone.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("opening process {pid}")),
    }
}

/// What the fact `pid` says of a process.
pub fn fact_of(pid: Pid) -> Result<String> {
    Ok(format!("{pid} {}", start_time(pid)?))
}

/// When a process began: field 22 of its stat, in ticks since the machine started.
fn start_time(pid: Pid) -> Result<String> {
    let stat = Stat::read(pid)?;
    stat.field(22).map(str::to_string).with_context(|| format!("/proc/{pid}/stat has no start time"))
}
