//! A container that stays when its `run` has ended: what the runtime tells of it, and what the host shows.

use std::fmt::Display;

use anyhow::{Context, Error, Result};
use serde_json::Value;

use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::outcome::Outcome;
use crate::trial::runtime::{Lab, Run};

/// How many hexadecimal digits an id has.
pub(crate) const ID: usize = 12;

/// A container. Dropped, it is removed, whatever it does.
pub(crate) struct Kept<'a> {
    lab: &'a Lab,
    /// The shell line that made it.
    line: String,
    id: String,
}

/// Whether this is an id, and nothing else.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl<'a> Run<'a> {
    /// Starts it with -d. It has to say the id, and nothing else.
    pub(crate) fn detach(self) -> Result<Kept<'a>> {
        let lab = self.lab;
        lab.detached(self.with(["-d"]).finish()?)
    }
}

impl Lab {
    /// The container of a `run -d` that has ended. It has to have said the id, and nothing else.
    pub(crate) fn detached(&self, outcome: Outcome) -> Result<Kept<'_>> {
        outcome.succeeds()?;
        let id = outcome.output().strip_suffix('\n').filter(|id| is_id(id)).map(str::to_string);
        let id =
            id.ok_or_else(|| outcome.differs("an id of 12 hexadecimal digits and a newline on stdout"))?;
        Ok(Kept { lab: self, line: outcome.line, id })
    }

    /// One that `ps -a` shows. There has to be exactly one.
    pub(crate) fn only_kept(&self) -> Result<Kept<'_>> {
        let outcome = self.call("ps", ["-a", "-q"]).finish()?;
        outcome.succeeds()?;
        let id = outcome.output().trim().to_string();
        if !is_id(&id) {
            return Err(outcome.differs("the id of one container"));
        }
        Ok(Kept { lab: self, line: outcome.line, id })
    }

    /// What `ps -a --format json` tells of all containers: an object in each line, the newest first.
    pub(crate) fn listed(&self) -> Result<Vec<Value>> {
        let outcome = self.call("ps", ["-a", "--no-trunc", "--format", "json"]).finish()?;
        outcome.succeeds()?;
        let objects = outcome.output().lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        objects.map_err(|error| outcome.differs(format!("a JSON object in each line ({error})")))
    }

    /// Runs it, and it has to say this, and end with 0.
    pub(crate) fn says<'b>(
        &self,
        verb: &'static str,
        words: impl IntoIterator<Item = &'b str>,
        text: &str,
    ) -> Result<()> {
        self.call(verb, words).finish()?.succeeds()?.prints(text).map(drop)
    }

    /// Runs it, and it has to refuse with status 1 and one line, which mentions `why`.
    pub(crate) fn refuses<'b>(
        &self,
        verb: &'static str,
        words: impl IntoIterator<Item = &'b str>,
        why: &str,
    ) -> Result<()> {
        self.call(verb, words).finish()?.refuses(&[1])?.mentions(why).map(drop)
    }
}

impl Kept<'_> {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    pub(crate) fn differs(&self, expected: impl Display, saw: impl Display) -> Error {
        see::differs(&self.line, expected, saw)
    }

    /// Its process 1, which is there as soon as `run -d` has returned. Known by the container's id, its hostname.
    pub(crate) fn process(&self) -> Result<Process> {
        let is_it = |process: &Process| {
            let numbers = process.numbers();
            numbers.len() > 1
                && numbers.last() == Some(&1)
                && process.hostname().is_ok_and(|name| name == self.id)
        };
        let found = self.lab.mark().processes().into_iter().find(is_it);
        let found = found
            .ok_or_else(|| self.differs(format!("a process 1 with the hostname {}", self.id), "none"))?;
        // execve(2) has closed what tells of the start, and sets up the arguments a moment later.
        wait_for(SOON, || Ok((!found.arguments().is_empty() || !found.lives()).then_some(())))?;
        Ok(found)
    }

    /// Whoever is the parent of its process 1, on the host.
    pub(crate) fn keeper(&self) -> Result<Process> {
        self.process()?.parent().with_context(|| format!("{} has no parent", self.id))
    }

    /// What `ps -a` tells of it. `None` if it is not there.
    pub(crate) fn listed(&self) -> Result<Option<Value>> {
        Ok(self.lab.listed()?.into_iter().find(|one| one["ID"] == *self.id))
    }

    /// `running`, `exited` and so on, as `ps -a` has it in the column State; "none" if it is not there.
    pub(crate) fn state(&self) -> Result<String> {
        self.column("State")
    }

    /// `Up 3 seconds`, for example, as in the column STATUS.
    pub(crate) fn status(&self) -> Result<String> {
        self.column("Status")
    }

    fn column(&self, name: &str) -> Result<String> {
        let listed = self.listed()?;
        Ok(listed.map_or("none".to_string(), |one| one[name].as_str().unwrap_or_default().to_string()))
    }

    /// Waits until `ps -a` has it in this state.
    pub(crate) fn becomes(&self, state: &str) -> Result<()> {
        let there = || Ok((self.state()? == state).then_some(()));
        if wait_for(SOON, there)?.is_none() {
            return Err(self.differs(format!("the state {state:?} in ps -a --format json"), self.state()?));
        }
        Ok(())
    }

    /// Waits until it has ended, and fails unless `ps -a` shows this status.
    pub(crate) fn exits(&self, status: u8) -> Result<()> {
        self.becomes("exited")?;
        let seen = self.status()?;
        if seen.starts_with(&format!("Exited ({status}) ")) && seen.ends_with(" ago") {
            return Ok(());
        }
        Err(self.differs(format!("\"Exited ({status}) … ago\" in ps -a"), format!("{seen:?}")))
    }

    /// What `inspect` tells of it.
    pub(crate) fn inspected(&self) -> Result<Value> {
        let outcome = self.lab.call("inspect", [&self.id]).finish()?;
        outcome.succeeds()?;
        let all: Result<Value, _> = serde_json::from_slice(&outcome.stdout);
        let one = all.ok().and_then(|all| all.get(0).cloned()).filter(Value::is_object);
        one.ok_or_else(|| outcome.differs("a JSON array with an object"))
    }

    /// What `logs` tells of it, both streams.
    pub(crate) fn logs(&self) -> Result<Outcome> {
        let outcome = self.lab.call("logs", [&self.id]).finish()?;
        outcome.exits(0)?;
        Ok(outcome)
    }

    /// Waits until it has written this to its stdout.
    pub(crate) fn wrote(&self, text: &str) -> Result<()> {
        let found = || Ok(self.logs()?.output().contains(text).then_some(()));
        if wait_for(SOON, found)?.is_none() {
            return Err(self.logs()?.differs(format!("{text:?} on stdout")));
        }
        Ok(())
    }

    /// Removes it as a user would, and nothing of it may stay.
    pub(crate) fn remove(self) -> Result<()> {
        self.lab.says("rm", ["-f", &self.id], &format!("{}\n", self.id))
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // A check that has failed has said so; here it matters only that it goes.
        let _ = self.lab.call("rm", ["-f", &self.id]).finish();
    }
}
