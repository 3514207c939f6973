//! One run of a container, from its child to its status. poll(2), signalfd(2), wait(2).
//!
//! A keeper never waits for one thing only: each step waits for all of them, and does what can be done.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use ch01_run::child::{self, Child};
use ch01_run::errors;
use ch01_run::signals::HeldSignals;
use ch06_init::worker;
use nix::poll::{PollFlags, PollTimeout};
use nix::pty::Winsize;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::asked::Plan;
use crate::clients::Clients;
use crate::ends::{self, Outer};
use crate::groups::{self, Groups};
use crate::log_writer::Log;
use crate::record::Record;
use crate::report::Outcome;
use crate::sources::{Asked, Source};
use crate::wire::{News, Wish};
use crate::{door, inside, process1, report, sources, time};

/// What the keeper waits for, and what it passes on.
const HELD: [Signal; 5] = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// What a keeper has at hand for each run.
#[derive(Debug)]
pub struct Keeper<'a> {
    plan: &'a Plan,
    record: &'a Record,
    signals: &'a HeldSignals,
    file: SignalFd,
    door: OwnedFd,
    clients: &'a mut Clients,
    log: Log,
    size: Option<Winsize>,
    /// What was typed while no container ran.
    typed_ahead: Vec<u8>,
    /// Nobody will type any more, nor the next time.
    no_more_keys: bool,
}

/// The container while it runs.
#[derive(Debug)]
struct Running {
    child: Child,
    outer: Outer,
    /// What its child will report, until it has.
    outcome: Option<Outcome>,
    /// Why the command was not started.
    failure: Option<(u8, String)>,
    /// Its status, when it has ended.
    status: Option<u8>,
    /// We have killed it.
    is_killed: bool,
}

impl<'a> Keeper<'a> {
    /// Opens what there is to open: the door for clients, and the log. Signals that come from now on are read.
    pub fn new(
        plan: &'a Plan,
        record: &'a Record,
        size: Option<Winsize>,
        signals: &'a HeldSignals,
        clients: &'a mut Clients,
    ) -> Result<Keeper<'a>> {
        let file = worker::signals_as_file(&HELD)?;
        let door = door::listen_at(record)?;
        let log = Log::open(&record.way())?;
        let (typed_ahead, no_more_keys) = (Vec::new(), false);
        Ok(Keeper { plan, record, signals, file, door, clients, log, size, typed_ahead, no_more_keys })
    }

    /// Runs the container once. Returns its status, and why it was not started if it was not.
    pub fn run(&mut self, groups: &Groups) -> Result<(u8, String)> {
        let (outcome, report) = report::make()?;
        let (inner, outer) = ends::make(&self.plan.asked.options, self.size)?;
        let (plan, record) = (self.plan, self.record);
        // What is printed may fill the disk, and the status is to be told all the same.
        ["started", "ended", "status"].iter().try_for_each(|fact| record.reserve(fact))?;
        let mut report = Some(report);
        let mut inside = || {
            let report = report.take().context("there is one report")?;
            inside::become_command(plan, record, groups, &inner, report)
        };
        let mut child = (plan.birth)(plan, record, &mut || child::spawn(plan.namespaces, &mut inside))?;
        drop((inner, report));
        record.write("pid", process1::fact_of(child.pid())?)?;
        let _open = (plan.before_start)(plan, record, child.pid())?;
        self.clients.wait_for_go(|size| outer.resize(size))?;
        child.start(self.signals)?;
        let outcome = Some(outcome);
        let mut running = Running { child, outer, outcome, failure: None, status: None, is_killed: false };
        running.outer.type_keys(&mem::take(&mut self.typed_ahead))?;
        if self.no_more_keys {
            running.outer.end_keys()?;
        }
        while running.status.is_none() {
            self.step(&mut running)?;
        }
        self.take_the_rest(&mut running)?;
        self.log.finish()?;
        record.forget("pid")?;
        if let Some((status, line)) = running.failure {
            record.write("failure", &line)?;
            return Ok((status, line));
        }
        let status = running.status.unwrap_or(errors::RUNTIME_FAILED);
        record.write("ended", time::now())?;
        record.write("status", status)?; // last: with it, it has ended
        Ok((status, String::new()))
    }

    /// Waits until something can be done, and does it.
    fn step(&mut self, running: &mut Running) -> Result<()> {
        // Outputs from the last to the first: one that ends is taken out of their list.
        for (source, events) in self.wait(Some(running), PollTimeout::NONE)?.into_iter().rev() {
            match source {
                Source::Signals => self.heed_signal(running)?,
                Source::Door => self.clients.accept(&self.door)?,
                Source::Report => self.hear_report(running)?,
                Source::Terminal => running.outer.receive_terminal(self.size)?,
                Source::Output(at) => {
                    self.hear_report(running)?; // clients are to know first that it runs
                    self.carry(running, at)?;
                }
                Source::Input => running.outer.write_keys()?,
                Source::Client(at) => self.attend(at, events, Some(&mut running.outer))?,
            }
        }
        self.clients.forget_who_left();
        // Unless it has ended: its number may be somebody else's by now.
        if running.status.is_none() && self.clients.is_abandoned() && !running.is_killed {
            running.is_killed = true;
            running.child.pass_on(Signal::SIGKILL)?;
            if groups::is_frozen(&self.plan.id)? {
                Groups::open(&self.plan.id)?.thaw()?; // in version 1 what is frozen doesn't even die
            }
        }
        Ok(())
    }

    /// Those that have something. Who is not asked has to wait.
    fn wait(&self, running: Option<&Running>, limit: PollTimeout) -> Result<Vec<(Source, PollFlags)>> {
        let mut asked = vec![
            (Source::Signals, self.file.as_fd(), PollFlags::POLLIN),
            (Source::Door, self.door.as_fd(), PollFlags::POLLIN),
        ];
        // The container waits for the client that it belongs to, as it would wait for a slow pipe.
        asked.extend(running.into_iter().flat_map(|running| running.sources(!self.clients.is_held_up())));
        // New keys only when the container has taken the last ones.
        let takes_keys = running.map_or(self.typed_ahead.is_empty(), |running| !running.outer.has_keys());
        asked.extend(self.clients.sources(takes_keys));
        sources::wait(&asked, limit)
    }

    fn take_signal(&mut self) -> Result<Option<Signal>> {
        let info = self.file.read_signal().context("reading a signal")?;
        info.map(|info| Ok(Signal::try_from(info.ssi_signo as i32)?)).transpose()
    }

    fn heed_signal(&mut self, running: &mut Running) -> Result<()> {
        match self.take_signal()? {
            Some(Signal::SIGCHLD) => running.status = running.child.reap()?,
            Some(signal) => running.child.pass_on(signal)?,
            None => {}
        }
        Ok(())
    }

    /// The command runs, or it won't.
    fn hear_report(&mut self, running: &mut Running) -> Result<()> {
        let Some(mut outcome) = running.outcome.take() else { return Ok(()) };
        running.failure = outcome.read()?;
        if running.failure.is_some() {
            return Ok(());
        }
        self.record.forget("status")?;
        self.record.write("started", time::now())?;
        self.clients.tell_start()?;
        if !self.clients.has_leash() {
            leave_the_caller()?;
        }
        Ok(())
    }

    /// Carries some output to the log and to the clients. Returns whether there was some.
    fn carry(&mut self, running: &mut Running, at: usize) -> Result<bool> {
        let Some((stream, bytes)) = running.outer.read(at)? else {
            if running.outer.has_hung_up() {
                self.clients.tell(&News::HungUp)?;
            }
            return Ok(false);
        };
        self.log.append(stream, &bytes)?;
        self.clients.tell(&News::Printed(stream, bytes))?;
        Ok(true)
    }

    /// What the container printed before its end.
    fn take_the_rest(&mut self, running: &mut Running) -> Result<()> {
        if running.outer.coming().is_some() {
            return Ok(()); // it never had a terminal
        }
        for at in (0..running.outer.outputs().len()).rev() {
            while self.carry(running, at)? {}
        }
        Ok(())
    }

    /// Does what a client wishes. Without a container, what is to be typed is for the next one.
    fn attend(&mut self, at: usize, events: PollFlags, outer: Option<&mut Outer>) -> Result<()> {
        match (self.clients.attend(at, events)?, outer) {
            (Some(Wish::Keys(keys)), Some(outer)) => outer.type_keys(&keys)?,
            (Some(Wish::Keys(keys)), None) => self.typed_ahead.extend(keys),
            (Some(Wish::EndOfKeys), outer) => {
                self.no_more_keys = true;
                outer.map_or(Ok(()), Outer::end_keys)?;
            }
            (Some(Wish::Size(size)), outer) => {
                self.size = Some(size);
                outer.map_or(Ok(()), |outer| outer.resize(&size))?;
            }
            (Some(Wish::Output), Some(outer)) if outer.has_hung_up() => self.clients.tell(&News::HungUp)?,
            (Some(Wish::Deaf(stream)), Some(outer)) => outer.close(stream),
            (Some(Wish::Leave), _) => {
                self.clients.let_go(at);
                self.no_more_keys = false; // others may come
                leave_the_caller()?;
            }
            (Some(Wish::Deaf(_) | Wish::Go | Wish::Output) | None, _) => {}
        }
        Ok(())
    }

    /// Whether there is to be no other start: somebody stopped it, or it was a client's who has left.
    pub fn is_over(&self) -> Result<bool> {
        Ok(self.clients.is_abandoned() || self.record.has("stopping")?)
    }

    /// Hears clients while no container runs, until something happens, so long at most. Returns whether there came a signal
    /// to end.
    pub fn idle(&mut self, time: Duration) -> Result<bool> {
        let limit = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        for (source, events) in self.wait(None, limit)? {
            match source {
                Source::Signals if self.take_signal()?.is_some_and(|one| one != Signal::SIGCHLD) => {
                    return Ok(true);
                }
                Source::Door => self.clients.accept(&self.door)?,
                Source::Client(at) => self.attend(at, events, None)?,
                _ => {}
            }
        }
        self.clients.forget_who_left();
        Ok(false)
    }
}

/// Whoever started it may leave now, and nobody shall wait for what we have of theirs.
fn leave_the_caller() -> Result<()> {
    ends::to_nowhere(true)?;
    std::env::set_current_dir("/").context("leaving the caller's directory")
}

impl Running {
    /// What to wait for. Without `outputs`, the container is left to wait with what it prints.
    fn sources(&self, outputs: bool) -> Vec<Asked<'_>> {
        let outer = &self.outer;
        let report = self.outcome.as_ref().map(|fd| (Source::Report, fd.as_fd(), PollFlags::POLLIN));
        let terminal = outer.coming().map(|fd| (Source::Terminal, fd.as_fd(), PollFlags::POLLIN));
        let input = outer.input_with_keys().map(|fd| (Source::Input, fd.as_fd(), PollFlags::POLLOUT));
        let mut asked: Vec<_> = report.into_iter().chain(terminal).chain(input).collect();
        if outputs {
            let fds = outer.outputs().iter().map(|(_, fd)| fd.as_fd()).enumerate();
            asked.extend(fds.map(|(at, fd)| (Source::Output(at), fd, PollFlags::POLLIN)));
        }
        asked
    }
}
