//! A container in one file: clone(2), mount(2), execvp(3), wait(2).

use std::convert::Infallible;
use std::env;
use std::ffi::CString;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::execvp;

fn main() -> Result<()> {
    let words = env::args().skip(1).skip_while(|word| word == "run");
    let command = words.map(CString::new).collect::<Result<Vec<_>, _>>()?;

    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET;
    let mut stack = vec![0; 1024 * 1024];
    let child = || {
        let Err(error) = inside(&command);
        eprintln!("{error:#}");
        1
    };
    // SAFETY: the child gets a copy of our memory, this stack included, as after fork(2).
    let pid = unsafe { clone(Box::new(child), &mut stack, own, Some(Signal::SIGCHLD as i32)) }
        .context("cloning a child into new namespaces (are you root?)")?;
    waitpid(pid, None).context("waiting for the child")?;
    Ok(())
}

/// What the child does in its new namespaces: it makes them its own, and becomes the command.
fn inside(command: &[CString]) -> Result<Infallible> {
    // Until now the mounts may be shared with the host, where the next one would appear too.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(Some(""), "/", Some(""), flags, Some("")).context("making / private")?;
    // A proc file system shows the processes of the one who mounts it.
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some("")).context("mounting /proc")?;
    let name = command.first().context("no command given")?;
    execvp(name, command).context("executing the command")
}
