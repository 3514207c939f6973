//! A terminal of the container's own: pty(7), pts(4), ioctl_tty(2), unix(7).
//!
//! A terminal has two ends. The inner one is what programs read and write, with echo and Ctrl-C in between. Whoever holds
//! the outer one is the keyboard and the screen. The container makes both, from its own devpts, and sends the outer one
//! out to us: made from the host's devpts, its name inside would lead nowhere, and `tty` would say "not a tty".

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use ch01_run::mounts;
use log::debug;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::MsFlags;
use nix::pty::{PtyMaster, Winsize, posix_openpt, unlockpt};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Four questions to a terminal: ioctl_tty(2).
mod ioctl {
    use nix::libc;
    use nix::pty::Winsize;

    nix::ioctl_read_bad!(get_size, libc::TIOCGWINSZ, Winsize);
    nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, Winsize);
    nix::ioctl_write_int_bad!(open_peer, libc::TIOCGPTPEER);
    nix::ioctl_write_int_bad!(take_control, libc::TIOCSCTTY);
}

/// In the container, with devpts in its place: makes a terminal of this `size`, sends its outer end through the socket
/// that is our stdin, and puts its inner end in the place of stdin, stdout and stderr. /dev/console leads there too.
pub fn open(size: Option<Winsize>) -> Result<()> {
    debug!("open(\"/dev/ptmx\"), ioctl(TIOCSPTLCK), ioctl(TIOCGPTPEER)");
    let outer = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).context("opening a terminal")?;
    unlockpt(&outer).context("unlocking the terminal")?;
    let inner = inner_end(&outer)?;
    if let Some(size) = size {
        resize(&outer, &size)?;
    }
    send(&outer)?;
    mount_console(&inner)?;
    dup2_stdin(&inner)
        .and_then(|()| dup2_stdout(&inner))
        .and_then(|()| dup2_stderr(&inner))
        .context("making the terminal stdin, stdout and stderr")
}

/// Asked of the outer end, and not opened by name: a name can lead to another file than one thinks.
pub fn inner_end(outer: &PtyMaster) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the call reads no memory of ours; it makes a descriptor that is nobody else's, or fails.
    unsafe { ioctl::open_peer(outer.as_raw_fd(), flags).map(|fd| OwnedFd::from_raw_fd(fd)) }
        .context("opening the terminal's inner end")
}

/// Sends the outer end through the socket that is our stdin. One byte, because a message must have one, and with it a
/// descriptor: the kernel makes a copy for whoever receives it.
pub fn send(outer: &PtyMaster) -> Result<()> {
    debug!("sendmsg(0, SCM_RIGHTS)");
    let (byte, fds) = ([IoSlice::new(b"t")], [outer.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(stdin().as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)
        .context("sending the terminal out of the container")
        .map(drop)
}

/// What is written to /dev/console appears on this terminal. The mount's source is the open file itself.
fn mount_console(inner: &OwnedFd) -> Result<()> {
    File::create_new("/dev/console").context("making /dev/console")?;
    let source = format!("/proc/self/fd/{}", inner.as_raw_fd());
    mounts::mount(source, "/dev/console", "", MsFlags::MS_BIND, "").context("mounting /dev/console")
}

/// In the command's process, the leader of a session: the terminal on stdin controls it from now on, and Ctrl-C goes to
/// its foreground.
pub fn take() -> Result<()> {
    debug!("ioctl(0, TIOCSCTTY)");
    // SAFETY: the call reads no memory of ours.
    unsafe { ioctl::take_control(libc::STDIN_FILENO, 0) }.context("taking the terminal").map(drop)
}

/// Outside: the outer end that the container sends, or `None` if it ends without.
pub fn receive(socket: &UnixStream) -> Result<Option<File>> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)
        .context("receiving the container's terminal")?;
    let received = match message.cmsgs().context("receiving the container's terminal")?.next() {
        Some(ControlMessageOwned::ScmRights(fds)) => fds.first().copied(),
        _ => None,
    };
    // SAFETY: the kernel has just made this descriptor, for us alone.
    Ok(received.map(|fd| unsafe { File::from_raw_fd(fd) }))
}

/// The size of a terminal in characters, or `None` if it is no terminal.
fn size_of(terminal: impl AsFd) -> Option<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills in a Winsize that lives as long as the call.
    unsafe { ioctl::get_size(terminal.as_fd().as_raw_fd(), &mut size) }.ok().map(|_| size)
}

/// The size of the first of stdin, stdout and stderr that is a terminal.
pub fn callers_size() -> Option<Winsize> {
    size_of(stdin()).or_else(|| size_of(stdout())).or_else(|| size_of(stderr()))
}

/// Sets the size of a terminal. If it is another one, the kernel sends SIGWINCH to the terminal's foreground.
pub fn resize(outer: &impl AsRawFd, size: &Winsize) -> Result<()> {
    // SAFETY: the kernel reads a Winsize that lives as long as the call.
    unsafe { ioctl::set_size(outer.as_raw_fd(), size) }.context("setting the terminal's size").map(drop)
}
