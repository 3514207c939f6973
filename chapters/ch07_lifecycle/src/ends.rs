//! The container's stdin, stdout and stderr, and the keeper's ends of them: pipe(2), pty(7), dup(2).
//!
//! What the container has is never the caller's: the caller leaves, and the container stays.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use ch01_run::descriptors;
use ch01_run::options::Options;
use ch06_init::pty;
use log::debug;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::Winsize;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, read, setsid, write};

use crate::log_line::Stream;
use crate::wire::PIECE;

/// What a terminal takes as the end of the input, also in the middle of a line: Ctrl-D, twice.
const END_OF_INPUT: [u8; 2] = [4, 4];

/// The container's ends. Drop them as soon as the child is there: while ours are open, nobody sees that it has closed its.
#[derive(Debug)]
pub enum Inner {
    /// Without `-i`, stdin is /dev/null.
    Pipes {
        /// What it reads.
        input: Option<PipeReader>,
        /// Where it writes.
        out: PipeWriter,
        /// Where it complains.
        err: PipeWriter,
    },
    /// A terminal, once there is one: the way out for it, and the size that it is to have.
    Terminal(UnixStream, Option<Winsize>),
}

/// The keeper's ends.
#[derive(Debug)]
pub struct Outer {
    /// Takes what the container reads.
    input: Option<OwnedFd>,
    /// Gives what it prints.
    outputs: Vec<(Stream, OwnedFd)>,
    /// Gives the outer end of its terminal.
    coming: Option<UnixStream>,
    /// Keys that the container has not taken yet.
    keys: Vec<u8>,
    /// These are the last ones.
    keys_end: bool,
    is_terminal: bool,
}

/// Makes both.
pub fn make(options: &Options, size: Option<Winsize>) -> Result<(Inner, Outer)> {
    let (keys, outputs) = (vec![], vec![]);
    let nothing = Outer { input: None, outputs, coming: None, keys, keys_end: false, is_terminal: false };
    if options.terminal {
        let (ours, theirs) = UnixStream::pair().context("making a socket for the terminal")?;
        let outer = Outer { coming: Some(ours), is_terminal: true, ..nothing };
        return Ok((Inner::Terminal(theirs, size), outer));
    }
    let pipe = || io::pipe().context("making pipes for the container");
    let (theirs, ours) = if options.interactive { Some(pipe()?) } else { None }.unzip();
    let ((out_reader, out), (err_reader, err)) = (pipe()?, pipe()?);
    let input = ours.map(OwnedFd::from);
    let outputs = vec![(Stream::Stdout, out_reader.into()), (Stream::Stderr, err_reader.into())];
    let outer = Outer { input, outputs, ..nothing };
    for fd in outer.outputs.iter().map(|(_, fd)| fd).chain(&outer.input) {
        never_wait(fd)?;
    }
    Ok((Inner::Pipes { input: theirs, out, err }, outer))
}

/// Whoever keeps a container must not wait for one thing only.
fn never_wait(fd: &OwnedFd) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .context("preparing the container's input and output")
        .map(drop)
}

impl Inner {
    /// The descriptors that the child needs until the end.
    pub fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Inner::Pipes { input, out, err } => {
                let input = input.as_ref().map(AsRawFd::as_raw_fd);
                input.into_iter().chain([out.as_raw_fd(), err.as_raw_fd()]).collect()
            }
            Inner::Terminal(..) => Vec::new(),
        }
    }

    /// In the child, first: leaves the keeper's session. With a terminal to come, stdin is the way out for it until then.
    pub fn enter(&self) -> Result<()> {
        debug!("setsid()");
        setsid().context("making the container's session")?;
        match self {
            Inner::Pipes { .. } => Ok(()),
            Inner::Terminal(socket, _) => dup2_stdin(socket).context("keeping the socket"),
        }
    }

    /// In the child, last: makes them stdin, stdout and stderr. Until then stderr is the caller's, and what is told there
    /// does not get into the container's log.
    pub fn complete(&self) -> Result<()> {
        match self {
            Inner::Pipes { input, out, err } => {
                match input {
                    Some(input) => dup2_stdin(input).context("making a pipe the command's stdin")?,
                    None => descriptors::stdin_from_null()?,
                }
                dup2_stdout(out).and_then(|()| dup2_stderr(err)).context("making pipes its stdout and stderr")
            }
            Inner::Terminal(_, size) => pty::open(*size),
        }
    }

    /// In the command's process, which leads a session: takes the terminal, if there is one.
    pub fn take_terminal(&self) -> Result<()> {
        if matches!(self, Inner::Terminal(..)) { pty::take() } else { Ok(()) }
    }
}

impl Outer {
    /// What prints: each stream and its descriptor.
    pub fn outputs(&self) -> &[(Stream, OwnedFd)] {
        &self.outputs
    }

    /// The socket on which a terminal is to come.
    pub fn coming(&self) -> Option<&UnixStream> {
        self.coming.as_ref()
    }

    /// Where to write, if keys wait for that.
    pub fn input_with_keys(&self) -> Option<&OwnedFd> {
        self.input.as_ref().filter(|_| !self.keys.is_empty())
    }

    /// Takes the terminal that has come. The client's may have changed its size meanwhile.
    pub fn receive_terminal(&mut self, size: Option<Winsize>) -> Result<()> {
        let Some(socket) = self.coming.take() else { return Ok(()) };
        if let Some(terminal) = pty::receive(&socket)? {
            let terminal = OwnedFd::from(terminal);
            never_wait(&terminal)?;
            self.input = Some(terminal.try_clone().context("copying the terminal's descriptor")?);
            self.outputs.push((Stream::Stdout, terminal));
        }
        size.map_or(Ok(()), |size| self.resize(&size))
    }

    /// Sets the terminal's size, if there is one already.
    pub fn resize(&self, size: &Winsize) -> Result<()> {
        match self.input.as_ref().filter(|_| self.is_terminal) {
            Some(terminal) => pty::resize(terminal, size),
            None => Ok(()),
        }
    }

    /// Keys for the container, which gets them when it reads. Without `-i` they go nowhere; before its terminal is there
    /// they wait.
    pub fn type_keys(&mut self, keys: &[u8]) -> Result<()> {
        if self.input.is_some() || self.coming.is_some() {
            self.keys.extend(keys);
        }
        self.write_keys()
    }

    /// There won't be more keys.
    pub fn end_keys(&mut self) -> Result<()> {
        if self.is_terminal {
            return self.type_keys(&END_OF_INPUT);
        }
        self.keys_end = true;
        self.write_keys()
    }

    /// Whether the container has not yet taken all the keys.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Writes what the container takes of them now.
    pub fn write_keys(&mut self) -> Result<()> {
        if let Some(input) = self.input.as_ref().filter(|_| !self.keys.is_empty()) {
            match write(input, &self.keys) {
                Ok(length) => drop(self.keys.drain(..length)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // Nobody reads it any more.
                Err(Errno::EPIPE | Errno::EIO) => {
                    self.keys.clear();
                    self.input = None;
                }
                Err(errno) => return Err(errno).context("writing to the container's stdin"),
            }
        }
        if self.keys_end && self.keys.is_empty() {
            self.input = None;
        }
        Ok(())
    }

    /// What it has printed on one of the outputs. `None`: nothing now. At its end the output is gone.
    pub fn read(&mut self, at: usize) -> Result<Option<(Stream, Vec<u8>)>> {
        let Some((stream, fd)) = self.outputs.get(at) else { return Ok(None) };
        let mut bytes = vec![0; PIECE];
        match read(fd.as_fd(), &mut bytes) {
            Ok(0) | Err(Errno::EIO) => {
                self.outputs.remove(at);
                Ok(None)
            }
            Ok(length) => {
                bytes.truncate(length);
                Ok(Some((*stream, bytes)))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno).context("reading what the container prints"),
        }
    }

    /// Whether the container had a terminal, and has closed it.
    pub fn has_hung_up(&self) -> bool {
        self.is_terminal && self.coming.is_none() && self.outputs.is_empty()
    }

    /// Closes one of the outputs: whoever prints there learns that nobody reads. A terminal hangs up.
    pub fn close(&mut self, stream: Stream) {
        self.outputs.retain(|(one, _)| *one != stream);
        if self.is_terminal {
            self.input = None;
        }
    }
}

/// The keeper's own stdin and stdout are nobody's. Its stderr, too, once there is nobody to complain to.
pub fn to_nowhere(stderr: bool) -> Result<()> {
    debug!("open(\"/dev/null\"), dup2 to 0 and 1{}", if stderr { " and 2" } else { "" });
    let null = File::options().read(true).write(true).open("/dev/null").context("opening /dev/null")?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).context("leaving the caller's stdin and stdout")?;
    if stderr { dup2_stderr(&null).context("leaving the caller's stderr") } else { Ok(()) }
}
