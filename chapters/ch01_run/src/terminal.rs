//! The caller's terminal, lent to the container or kept from it: tcsetpgrp(3), setpgid(2), setsid(2), credentials(7).

use std::io::stdin;

use anyhow::{Context, Result, ensure};
use log::{debug, warn};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgid, getpgrp, setpgid, setsid, tcgetpgrp, tcsetpgrp};

use crate::input::TypedInput;
use crate::options::Options;
use crate::signals::{self, HeldSignals, Stopped};

/// What a container has to do with the caller's terminal.
#[derive(Debug)]
pub enum Terminal {
    /// Nothing.
    Apart,
    /// It reads what is typed there, through a pipe: `-i`.
    Copied(TypedInput),
    /// It has it for as long as it runs: `-t`.
    Lent(Loan),
}

/// A terminal that controls our session. Once lent, it is taken back when this is dropped, and is then as we found it.
#[derive(Debug)]
pub struct Loan {
    modes: Termios,
    /// Our own process group.
    job: Pid,
    lent: bool,
}

impl Terminal {
    /// Looks at stdin, for what the options say. Warns if it should be lent and is no terminal, or not ours.
    pub fn of_stdin(options: &Options) -> Result<Terminal> {
        if options.terminal {
            match tcgetpgrp(stdin()) {
                Err(Errno::ENOTTY) => warn!("-t: stdin is not our terminal; going on without"),
                Err(errno) => return Err(errno).context("looking at the terminal on stdin"),
                Ok(_) => {
                    let modes = tcgetattr(stdin()).context("reading the terminal's modes")?;
                    let job = getpgid(None).context("looking for our process group")?;
                    return Ok(Terminal::Lent(Loan { modes, job, lent: false }));
                }
            }
        }
        let typed = TypedInput::of_stdin(options.interactive)?;
        Ok(typed.map_or(Terminal::Apart, Terminal::Copied))
    }

    /// In the child: without `-t`, a session of its own, and so no controlling terminal. Keys typed there send the
    /// container nothing, and it cannot open `/dev/tty`.
    pub fn enter(&self) -> Result<()> {
        if let Terminal::Copied(typed) = self {
            typed.become_stdin()?;
        }
        if !matches!(self, Terminal::Lent(_)) {
            debug!("setsid()");
            setsid().context("making a session without a terminal")?;
        }
        Ok(())
    }

    /// With `-t`, makes process `pid` the leader of a process group of its own, and that group the foreground
    /// one: the terminal's Ctrl-C and Ctrl-Z go there now, and no longer to us.
    ///
    /// Call it while the child still waits at its gate. A shell needs the foreground when it starts,
    /// else: "can't access tty; job control turned off".
    pub fn lend_to(&mut self, pid: Pid, signals: &HeldSignals) -> Result<()> {
        let Terminal::Lent(loan) = self else { return Ok(()) };
        debug!("setpgid({pid}, {pid})");
        setpgid(pid, pid).with_context(|| format!("making process {pid} a group leader"))?;
        if wait_for_foreground(signals)? {
            loan.lend_to(pid)?;
        }
        Ok(())
    }

    /// Stops us, as the shell wants it that sent SIGTSTP, until it wants us to go on.
    pub fn stop(&mut self, signals: &HeldSignals) -> Result<()> {
        match self {
            Terminal::Lent(loan) if loan.lent => loan.stop(signals),
            Terminal::Copied(typed) => typed.stop(signals),
            _ => signals.stop(Stopped::Process, Signal::SIGSTOP).map(drop),
        }
    }
}

impl Loan {
    fn lend_to(&mut self, group: Pid) -> Result<()> {
        debug!("tcsetpgrp(0, {group})");
        tcsetpgrp(stdin(), group).with_context(|| format!("giving group {group} the terminal"))?;
        self.lent = true;
        // From here on we are in the background, where SIGTTOU would stop us for writing a message or for
        // taking the terminal back.
        let stop = SigSet::from(Signal::SIGTTOU);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), None).context("blocking SIGTTOU")
    }

    fn take_back(&mut self) {
        self.lent = false;
        // A terminal that has hung up needs no owner, so errors are of no interest here.
        let _ = tcsetpgrp(stdin(), self.job);
        let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &self.modes);
    }

    /// With us stops whoever has the terminal in the container: in the middle of a read it would take the next line
    /// that is typed to the shell. All go on when we are in the foreground again.
    fn stop(&mut self, signals: &HeldSignals) -> Result<()> {
        let group = tcgetpgrp(stdin()).context("looking who has the terminal")?;
        let modes = tcgetattr(stdin()).context("reading the terminal's modes")?;
        debug!("kill(-{group}, SIGSTOP)");
        let _ = killpg(group, Signal::SIGSTOP); // it may have ended just now, and then nobody reads
        signals::wait_until_stopped(group)?;
        self.take_back();
        signals.stop(Stopped::Process, Signal::SIGSTOP)?;
        if wait_for_foreground(signals)? {
            tcsetattr(stdin(), SetArg::TCSADRAIN, &modes).context("setting the terminal's modes")?;
            self.lend_to(group)?;
        }
        debug!("kill(-{group}, SIGCONT)");
        let _ = killpg(group, Signal::SIGCONT);
        Ok(())
    }
}

/// Waits until we are in the terminal's foreground, stopped meanwhile as every job is that needs it: the shell says so,
/// and `fg` lets it go on. Returns whether we are; we are not if a signal came that ends us.
pub fn wait_for_foreground(signals: &HeldSignals) -> Result<bool> {
    while tcgetpgrp(stdin()).context("looking who has the terminal")? != getpgrp() {
        if signals.must_end()? {
            return Ok(false);
        }
        // What the kernel does to a job that reads in the background. Not SIGTTOU, which we may have blocked.
        let stopped = signals.stop(Stopped::Job, Signal::SIGTTIN)?;
        ensure!(stopped, "-t: this job is in the background, and there is no shell to bring it to the front");
    }
    Ok(true)
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Never if it was not lent: the shell that started us in the background has it.
        if self.lent {
            self.take_back();
        }
    }
}
