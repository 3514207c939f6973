//! A terminal with someone at it: a pty, a shell script that runs in it, keys and a screen.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::tcgetattr;
use nix::unistd::tcgetpgrp;

use crate::chapter::Chapter;
use crate::machine::process::{Process, begin_session};
use crate::see::{self, SOON, shown};
use crate::trial::runtime::Lab;

pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";
pub(crate) const CTRL_Z: &str = "\x1a";

/// A terminal. Its session leader is a `sh` on the host, as it would be for a user who logged in.
pub(crate) struct Terminal<'a> {
    lab: &'a Lab,
    line: String,
    master: File,
    leader: Child,
    screen: Vec<u8>,
    /// Up to here the screen has been looked at.
    seen: usize,
}

impl<'a> Terminal<'a> {
    /// Runs `sh ARGUMENTS...` in a new terminal. Scripts start the runtime as `"$RUN" run ... $IMAGE COMMAND`, and nothing of
    /// the container stays; or as `"$RUNTIME" ...`, and say themselves what they want, in the words of chapter 7.
    pub(crate) fn with_shell(lab: &'a Lab, arguments: &[&str]) -> Result<Terminal<'a>> {
        let arguments: Vec<_> = arguments.iter().map(|argument| lab.spelled(argument)).collect();
        let pty = openpty(None, None).context("opening a pty")?;
        // Other checks start programs meanwhile, and these should not get hold of our terminal.
        for fd in [&pty.master, &pty.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let slave = || -> Result<OwnedFd> { Ok(pty.slave.try_clone()?) };
        let mut command = Command::new("/bin/sh");
        command.args(&arguments).stdin(Stdio::from(slave()?)).stdout(slave()?).stderr(slave()?);
        command
            .env("RUN", lab.program())
            .env("RUNTIME", lab.program())
            .env("BYHAND_ROOT", lab.state())
            .env_remove("RUST_LOG");
        command.env("PS1", "caller$ ").env("TERM", "vt100").env_remove("ENV");
        let mark = lab.mark();
        let prepare = move || {
            mark.begin()?;
            begin_session()
        };
        // SAFETY: system calls only.
        unsafe { command.pre_exec(prepare) };
        let words: Vec<_> = arguments.iter().map(see::quoted).collect();
        let (program, state) = (see::quoted(lab.program()), see::quoted(lab.state()));
        let variables = match lab.has(Chapter::Lifecycle) {
            true => format!("RUN={program} RUNTIME={program} BYHAND_ROOT={state}"),
            false => format!("RUN={program} BYHAND_ROOT={state}"),
        };
        let line = format!("in a terminal: {variables} sh {}", words.join(" "));
        let leader = command.spawn().with_context(|| format!("starting {line}"))?;
        Ok(Terminal { lab, line, master: pty.master.into(), leader, screen: Vec::new(), seen: 0 })
    }

    /// Presses keys.
    pub(crate) fn types(&mut self, keys: &str) -> Result<()> {
        let keys = self.lab.spelled(keys);
        self.line += &format!(", type {keys:?}");
        self.master.write_all(keys.as_bytes()).context("typing")
    }

    /// Makes the window another size.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        self.line += &format!(", make the window {rows} by {columns}");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel reads a size that lives as long as the call.
        Errno::result(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) })
            .context("setting the size")
            .map(drop)
    }

    /// How the terminal treats what is typed, as `stty -g` tells it.
    pub(crate) fn modes(&self) -> Result<String> {
        Ok(format!("{:?}", tcgetattr(&self.master).context("reading the modes")?))
    }

    /// Waits until `text` appears on the screen, after what has been waited for before.
    pub(crate) fn shows(&mut self, text: &str) -> Result<()> {
        let end = Instant::now() + SOON;
        loop {
            if let Some(at) = self.find(text) {
                self.seen = at + text.len();
                return Ok(());
            }
            let open = self.read_some(end)?;
            if (!open || Instant::now() >= end) && self.find(text).is_none() {
                let screen = format!("the screen {}", shown(&self.screen));
                return Err(see::differs(&self.line, format!("{text:?} on the screen"), screen));
            }
        }
    }

    /// The same, but gives up as soon as `end` is there instead, which tells that `text` will never be.
    pub(crate) fn shows_unless(&mut self, text: &str, end: &str) -> Result<()> {
        let limit = Instant::now() + SOON;
        while self.find(text).is_none() && self.find(end).is_none() && Instant::now() < limit {
            if !self.read_some(limit)? {
                break;
            }
        }
        if self.find(text).is_some() {
            return self.shows(text);
        }
        let screen = format!("the screen {}", shown(&self.screen));
        Err(see::differs(&self.line, format!("{text:?} on the screen"), screen))
    }

    /// All that has been on the screen so far.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen).into_owned()
    }

    /// Fails if `text` has been on the screen.
    pub(crate) fn never_showed(&self, text: &str) -> Result<()> {
        if !self.screen().contains(text) {
            return Ok(());
        }
        Err(see::differs(&self.line, format!("no {text:?}"), format!("the screen {}", shown(&self.screen))))
    }

    fn find(&self, text: &str) -> Option<usize> {
        let text = text.as_bytes();
        let at = self.screen[self.seen..].windows(text.len()).position(|window| window == text)?;
        Some(self.seen + at)
    }

    /// Waits for output until `end`. False if nobody has the terminal open any more.
    fn read_some(&mut self, end: Instant) -> Result<bool> {
        let left = end.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::try_from(left)?)? == 0 {
            return Ok(true);
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.screen.extend_from_slice(&bytes[..length]);
                Ok(true)
            }
            // What the kernel says once the other side has been closed.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error).context("reading the screen"),
        }
    }

    /// Fails unless the terminal's foreground process group is the caller's.
    pub(crate) fn belongs_to_the_caller(&self) -> Result<()> {
        let group = tcgetpgrp(&self.master).context("asking for the foreground process group")?;
        let caller = self.leader().0;
        see::same(&self.line, "the foreground process group to be the caller's,", caller, group.as_raw())
    }

    /// Waits until the caller has given the terminal to a job of its.
    pub(crate) fn is_given_away(&self) -> Result<()> {
        let caller = self.leader().0;
        let other = || Ok((tcgetpgrp(&self.master)?.as_raw() != caller).then_some(()));
        let given = see::wait_for(SOON, other)?;
        given
            .ok_or_else(|| see::differs(&self.line, "another foreground process group", "still the caller's"))
    }

    /// The shell that was started.
    pub(crate) fn leader(&self) -> Process {
        Process(self.leader.id().cast_signed())
    }

    /// What has been done so far.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}
