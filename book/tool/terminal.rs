//! A terminal of the stage: keys go in, and what a person would see comes out.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use items::console::is_prompt;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long nothing more must come after a prompt.
const STILL: Duration = Duration::from_millis(80);

/// The same after a question that we have answered. busybox asks where the cursor is, and drops what it reads together
/// with the answer: so it must have had the time to read that.
const STILL_AFTER_ANSWER: Duration = Duration::from_millis(200);

/// A pty's master side, and what has appeared on it.
pub struct Terminal {
    master: File,
    screen: Screen,
    /// When something last appeared.
    last: Instant,
    /// Whether that was a question, and has been answered.
    answered: bool,
    /// Up to here the text has been taken.
    taken: usize,
    /// The prompt that was seen last.
    prompt: String,
}

/// What a wait came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// This prompt is at the end of the text.
    Prompt(String),
    /// The caller's own condition holds.
    Enough,
    /// Neither, within the time.
    Late,
}

nix::ioctl_write_ptr_bad!(
    /// Lets the other side be opened.
    unlock,
    libc::TIOCSPTLCK, libc::c_int
);
nix::ioctl_read_bad!(
    /// Asks for the number in `/dev/pts`.
    number,
    libc::TIOCGPTN, libc::c_uint
);
nix::ioctl_write_int_bad!(
    /// Opens the other side.
    peer,
    libc::TIOCGPTPEER
);
nix::ioctl_read_bad!(
    /// Asks how many bytes can be read.
    to_read,
    libc::FIONREAD, libc::c_int
);
nix::ioctl_write_ptr_bad!(
    /// Sets rows and columns.
    resize,
    libc::TIOCSWINSZ, libc::winsize
);

impl Terminal {
    /// Opens a new terminal of the devpts whose `ptmx` this is. Returns its number too.
    pub fn open(ptmx: &Path) -> Result<(Terminal, u32)> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlag::O_NOCTTY.bits();
        let master = File::options().read(true).write(true).custom_flags(flags).open(ptmx);
        let master = master.with_context(|| format!("opening {}", ptmx.display()))?;
        let (mut name, fd) = (0, master.as_raw_fd());
        let size = libc::winsize { ws_row: 48, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: each call gets a pointer to what it reads or writes, which lives as long as the call.
        unsafe {
            unlock(fd, &0)?;
            number(fd, &mut name)?;
            resize(fd, &size)?;
        }
        Ok((
            Terminal {
                master,
                screen: Screen::default(),
                last: Instant::now(),
                answered: false,
                taken: 0,
                prompt: "$ ".into(),
            },
            name,
        ))
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.last = Instant::now();
        self.answered = false;
        self.master.write_all(keys.as_bytes()).context("typing")
    }

    /// Whether whoever reads from this terminal has left something. One behind another terminal can't be seen.
    fn has_unread_keys(&self) -> Result<bool> {
        let flags = (OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits();
        let mut unread = 0;
        // SAFETY: the first returns a new descriptor, which is nobody else's; the second gets a pointer to what it writes,
        // which lives as long as the call.
        unsafe {
            let slave =
                OwnedFd::from_raw_fd(peer(self.master.as_raw_fd(), flags).context("opening the terminal")?);
            to_read(slave.as_raw_fd(), &mut unread).context("looking for unread keys")?;
        }
        Ok(unread > 0)
    }

    /// What has appeared and not been taken.
    pub fn text(&self) -> &str {
        self.screen.text.get(self.taken..).unwrap_or_default() // what was taken may be wiped
    }

    /// Takes what has appeared.
    pub fn take(&mut self) -> String {
        let text = self.text().to_string();
        self.taken = self.screen.text.len();
        text
    }

    /// How long nothing has appeared.
    pub fn quiet_for(&self) -> Duration {
        self.last.elapsed()
    }

    /// Waits for a prompt, or until `enough` says so.
    pub fn wait(&mut self, limit: Duration, mut enough: impl FnMut(&Terminal) -> bool) -> Result<Seen> {
        let end = Instant::now() + limit;
        loop {
            self.read()?;
            let still = if self.answered { STILL_AFTER_ANSWER } else { STILL };
            if self.quiet_for() >= still && !(self.answered && self.has_unread_keys()?) {
                let line = self.text().rsplit('\n').next().unwrap_or_default();
                if is_prompt(line) {
                    self.prompt = line.to_string();
                    return Ok(Seen::Prompt(self.prompt.clone()));
                }
                // The output before it may lack a newline at its end.
                if line.ends_with(&self.prompt) && self.quiet_for() >= 5 * STILL {
                    return Ok(Seen::Prompt(self.prompt.clone()));
                }
                if enough(self) {
                    return Ok(Seen::Enough);
                }
            }
            if Instant::now() >= end {
                return Ok(Seen::Late);
            }
        }
    }

    /// Reads what comes within a moment.
    fn read(&mut self) -> Result<()> {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(20_u8))? == 0 {
            return Ok(());
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(length) => {
                self.last = Instant::now();
                let answer = self.screen.show(&bytes[..length]);
                self.answered |= !answer.is_empty();
                self.master.write_all(answer.as_bytes()).context("answering")
            }
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                bail!("the terminal's shell has ended")
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error).context("reading the terminal"),
        }
    }
}

/// Turns what a program writes to a terminal into the text that is there in the end.
#[derive(Default)]
struct Screen {
    text: String,
    /// Bytes of an escape sequence, or of a character, that has not come to its end.
    pending: Vec<u8>,
    /// Whether the cursor went back to the start of its line.
    back: bool,
}

impl Screen {
    /// Shows bytes; returns what a terminal would answer.
    fn show(&mut self, bytes: &[u8]) -> String {
        let mut answer = String::new();
        for byte in bytes {
            self.pending.push(*byte);
            let shown = match self.pending.as_slice() {
                [0x1b] | [0x1b, b'[' | b']' | b'(' | b')'] => continue,
                [0x1b, b'[', .., last] if !(0x40..=0x7e).contains(last) => continue,
                [0x1b, b']', .., last] if *last != 7 => continue,
                b"\x1b[6n" => {
                    let line = self.text.rsplit('\n').next().unwrap_or_default();
                    answer += &format!("\x1b[1;{}R", line.chars().count() + 1);
                    ""
                }
                b"\r" => {
                    self.back = true;
                    self.pending.clear();
                    continue;
                }
                // As cargo wipes its progress bar.
                b"\x1b[K" if self.back => {
                    self.text.truncate(self.text.rfind('\n').map_or(0, |at| at + 1));
                    ""
                }
                [0x1b, ..] | [7] => "",
                b"\t" => {
                    let line = self.text.rsplit('\n').next().unwrap_or_default();
                    &"        "[line.chars().count() % 8..]
                }
                [8] => {
                    if !self.text.ends_with('\n') {
                        self.text.pop();
                    }
                    ""
                }
                other => match std::str::from_utf8(other) {
                    Ok(text) => text,
                    Err(error) if error.error_len().is_none() => continue,
                    Err(_) => "\u{fffd}",
                },
            };
            self.text += shown;
            self.back &= shown.is_empty();
            self.pending.clear();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts() {
        for prompt in ["$ ", "# ", "> ", "/ # ", "/tmp # ", "~ # ", "/ $ "] {
            assert!(is_prompt(prompt), "{prompt:?}");
        }
        for other in ["", "$", "$ ls", "x # ", "a / # ", "## "] {
            assert!(!is_prompt(other), "{other:?}");
        }
    }

    #[test]
    fn what_stays_on_the_screen() {
        let mut screen = Screen::default();
        screen.show(b"abc\td\r\n");
        assert_eq!(screen.text, "abc     d\n");
        screen.text.clear();
        assert_eq!(screen.show(b"\x1b[1;32mgreen\x1b[m\r\n/ # \x1b[6"), "");
        assert_eq!(screen.show(b"n"), "\x1b[1;5R");
        screen.show("l\x08ls \u{2026}".as_bytes());
        assert_eq!(screen.text, "green\n/ # ls \u{2026}");
        screen.show(b"\n[=>  ] 1/2\r[==> ] 2/2\r\x1b[Kdone\r\n\x1b[01mred\x1b[K\x1b[m");
        assert_eq!(screen.text, "green\n/ # ls \u{2026}\ndone\nred");
    }
}
