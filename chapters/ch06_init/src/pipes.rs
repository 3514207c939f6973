//! Pipes in the place of the caller's terminal: pipe(2), isatty(3), dup(2).

use std::io::{self, IsTerminal, PipeReader, PipeWriter, stderr, stdin, stdout};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use ch01_run::descriptors;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, read};

use crate::carriers::Carriers;
use crate::relay;
use crate::worker::Worker;

/// The container's stdin, stdout and stderr. Files and pipes of the caller's go in as they are; a terminal does not.
#[derive(Debug)]
pub struct Pipes {
    interactive: bool,
    typed: Option<PipeReader>,
    out: Option<PipeWriter>,
    err: Option<PipeWriter>,
}

impl Pipes {
    /// Makes them, and the processes that copy. Without `interactive` the container reads nothing.
    pub fn make(interactive: bool) -> Result<(Pipes, Carriers)> {
        let mut carriers = Carriers::default();
        let typed = if interactive { typed(&mut carriers)? } else { None };
        let out = if stdout().is_terminal() { Some(pipe_to(stdout(), &mut carriers)?) } else { None };
        let err = for_stderr(out.as_ref(), &mut carriers)?;
        Ok((Pipes { interactive, typed, out, err }, carriers))
    }

    /// In the child: makes them stdin, stdout and stderr.
    pub fn enter(&self) -> Result<()> {
        if let Some(pipe) = &self.typed {
            dup2_stdin(pipe).context("making a pipe the command's stdin")?;
        }
        if let Some(pipe) = &self.out {
            dup2_stdout(pipe).context("making a pipe the command's stdout")?;
        }
        if let Some(pipe) = &self.err {
            dup2_stderr(pipe).context("making a pipe the command's stderr")?;
        }
        Ok(())
    }

    /// In the child, when its /dev is there: without `-i` the command's stdin is /dev/null.
    pub fn complete(&self) -> Result<()> {
        if self.interactive { Ok(()) } else { descriptors::stdin_from_null() }
    }
}

/// A pipe with what is typed, if stdin is a terminal, and a process that copies it.
fn typed(carriers: &mut Carriers) -> Result<Option<PipeReader>> {
    if !stdin().is_terminal() {
        return Ok(None);
    }
    let (reader, writer) = io::pipe().context("making a pipe for what is typed")?;
    carriers.typing = Some(Worker::start(move || copy(stdin(), writer))?);
    Ok(Some(reader))
}

/// The command's stderr, if ours is a terminal.
fn for_stderr(out: Option<&PipeWriter>, carriers: &mut Carriers) -> Result<Option<PipeWriter>> {
    match out {
        _ if !stderr().is_terminal() => Ok(None),
        // One pipe for what goes to the same screen, so that it arrives in the order in which it was printed.
        Some(out) if same_terminal()? => Ok(Some(out.try_clone().context("copying a pipe")?)),
        _ => Ok(Some(pipe_to(stderr(), carriers)?)),
    }
}

/// A pipe, and a process that copies what comes out of it.
fn pipe_to(terminal: impl AsFd, carriers: &mut Carriers) -> Result<PipeWriter> {
    let (reader, writer) = io::pipe().context("making a pipe for what is printed")?;
    let mut writer = Some(writer);
    let ours = &mut writer;
    carriers.printing.push(Worker::start(move || {
        *ours = None; // the container's alone, so that the copying ends with it
        copy(reader, terminal)
    })?);
    writer.context("a pipe that is still ours")
}

/// Copies until the end of the input, or of whoever reads it. EIO says that a terminal is gone.
fn copy(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let mut bytes = [0; 16384];
    loop {
        match read(&from, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => return Ok(()),
            Err(Errno::EINTR) => {}
            // Whoever shares the caller's terminal may have made it one whose reads don't wait. So we do.
            Err(Errno::EAGAIN) => {
                let fd = PollFd::new(from.as_fd(), PollFlags::POLLIN);
                poll(&mut [fd], PollTimeout::NONE).context("waiting for what is typed")?;
            }
            there => {
                let there = there.context("reading for the container")?;
                if !relay::write_all(to.as_fd(), &bytes[..there])? {
                    return Ok(());
                }
            }
        }
    }
}

fn same_terminal() -> Result<bool> {
    let device = |data: nix::Result<nix::sys::stat::FileStat>| Ok::<_, Errno>(data?.st_rdev);
    let out = device(fstat(stdout())).context("looking at stdout")?;
    Ok(out == device(fstat(stderr())).context("looking at stderr")?)
}
