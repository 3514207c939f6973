//! Lending the caller's terminal to the container: tcsetpgrp(3), setpgid(2), setsid(2), credentials(7).

use std::io::stdin;

use anyhow::{Context, Result};
use log::{debug, warn};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, setpgid, setsid, tcgetpgrp, tcsetpgrp};

/// The terminal on stdin that controls our session. Once lent, it is taken back when this is dropped, and
/// is then as we found it.
#[derive(Debug)]
pub struct Terminal {
    modes: Termios,
    lent: bool,
}

impl Terminal {
    /// The terminal on stdin if it is `wanted`. Warns if stdin is none, or controls another session than ours.
    pub fn of_stdin(wanted: bool) -> Result<Option<Terminal>> {
        match tcgetpgrp(stdin()) {
            _ if !wanted => Ok(None),
            Err(Errno::ENOTTY) => {
                warn!("-t: stdin is not our terminal; going on without");
                Ok(None)
            }
            Err(errno) => Err(errno).context("looking at the terminal on stdin"),
            Ok(_) => {
                let modes = tcgetattr(stdin()).context("reading the terminal's modes")?;
                Ok(Some(Terminal { modes, lent: false }))
            }
        }
    }

    /// Makes process `pid` the leader of a process group of its own, and that group the foreground
    /// one: the terminal's Ctrl-C and Ctrl-Z go there now, and no longer to us.
    ///
    /// Call it while the child still waits at its gate. A shell needs the foreground when it starts,
    /// else: "can't access tty; job control turned off".
    pub fn lend_to(&mut self, pid: Pid) -> Result<()> {
        debug!("setpgid({pid}, {pid})");
        setpgid(pid, pid).with_context(|| format!("making process {pid} a group leader"))?;
        debug!("tcsetpgrp(0, {pid})");
        // If we are in the background ourselves, SIGTTOU stops us here until the user says `fg`, as it should.
        tcsetpgrp(stdin(), pid).with_context(|| format!("giving process {pid} the terminal"))?;
        self.lent = true;
        // From here on we are in the background, where SIGTTOU would stop us for writing a message or for
        // taking the terminal back.
        let stop = SigSet::from(Signal::SIGTTOU);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), None).context("blocking SIGTTOU")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Never if it was not lent: the shell that started us in the background has it.
        if self.lent {
            // A terminal that has hung up needs no owner, so errors are of no interest here.
            let _ = tcsetpgrp(stdin(), getpgrp());
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &self.modes);
        }
    }
}

/// In the child, without `-t`: a session of its own, and so no controlling terminal. Keys typed there
/// send the container nothing, and it cannot open `/dev/tty`.
pub fn detach() -> Result<()> {
    debug!("setsid()");
    setsid().map(drop).context("making a session without a terminal")
}
