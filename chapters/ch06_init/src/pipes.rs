//! Pipes in the place of the caller's terminal: pipe(2), isatty(3), dup(2).

use std::io::{self, ErrorKind, IsTerminal, PipeReader, PipeWriter, Read, Write, stderr, stdin, stdout};

use anyhow::{Context, Result};
use ch01_run::descriptors;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::carriers::Carriers;
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
    let (reader, mut writer) = io::pipe().context("making a pipe for what is typed")?;
    carriers.typing = Some(Worker::start(move || copy(&mut stdin().lock(), &mut writer))?);
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
fn pipe_to(mut terminal: impl Write, carriers: &mut Carriers) -> Result<PipeWriter> {
    let (mut reader, writer) = io::pipe().context("making a pipe for what is printed")?;
    let mut writer = Some(writer);
    let ours = &mut writer;
    carriers.printing.push(Worker::start(move || {
        *ours = None; // the container's alone, so that the copying ends with it
        copy(&mut reader, &mut terminal)
    })?);
    writer.context("a pipe that is still ours")
}

/// Copies until the end of the input, or of whoever reads it.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<()> {
    let mut bytes = [0; 16384];
    loop {
        let there = match from.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if has_hung_up(&error) => 0,
            there => there.context("reading for the container")?,
        };
        match to.write_all(&bytes[..there]).and_then(|()| to.flush()) {
            _ if there == 0 => return Ok(()),
            Err(error) if has_hung_up(&error) => return Ok(()),
            written => written.context("writing for the container")?,
        }
    }
}

/// Whether the other side of a terminal or a pipe is gone.
fn has_hung_up(error: &io::Error) -> bool {
    [Some(Errno::EIO as i32), Some(Errno::EPIPE as i32)].contains(&error.raw_os_error())
}

fn same_terminal() -> Result<bool> {
    let device = |data: nix::Result<nix::sys::stat::FileStat>| Ok::<_, Errno>(data?.st_rdev);
    let out = device(fstat(stdout())).context("looking at stdout")?;
    Ok(out == device(fstat(stderr())).context("looking at stderr")?)
}
