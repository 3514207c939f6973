//! What `ps` tells of a container, looked up in few system calls: there may be hundreds.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;

use crate::asked::Asked;
use crate::record::Record;
use crate::state::State;
use crate::time;

/// A container, as it is at this moment.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name, or nothing.
    pub name: String,
    /// How it is.
    pub state: State,
    /// When it was made.
    pub created: Duration,
    /// When it was started or ended, whichever came last. `None` if it never was.
    pub since: Option<Duration>,
    /// Its record.
    pub record: Record,
}

impl Listed {
    /// Looks at a container. `None` if it is gone, or does not run and only those that do are wanted.
    pub fn look(record: Record, even_ended: bool) -> Result<Option<Listed>> {
        // First what costs least: most containers of a machine have long ended.
        if !even_ended && !record.lives()? {
            return Ok(None);
        }
        let created = match moment(&record, "created")? {
            Some(created) => created,
            None if record.has("")? => Duration::ZERO, // a damaged fact hides no container
            None => return Ok(None),
        };
        let state = State::of(&record)?;
        let since = match state {
            State::Created => None,
            State::Running | State::Paused => moment(&record, "started")?,
            State::Restarting(_) | State::Exited(_) => {
                moment(&record, "ended")?.or(moment(&record, "started")?)
            }
        };
        let (id, name) = (record.id().to_string(), record.read("name")?.unwrap_or_default());
        Ok(Some(Listed { id, name, state, created, since, record }))
    }

    /// The name of its image.
    pub fn image(&self) -> Option<String> {
        self.record.read("image").ok().flatten()
    }

    /// What it was asked for. `None` if its record does not say so any more.
    pub fn asked(&self) -> Option<Asked> {
        Asked::of(&self.record).ok()
    }

    /// Its state in words: `Up 5 minutes`, `Exited (0) 2 hours ago`.
    pub fn status(&self) -> String {
        let time = time::in_words(self.since.map(time::age).unwrap_or_default());
        match self.state {
            State::Created => "Created".to_string(),
            State::Running => format!("Up {time}"),
            State::Paused => format!("Up {time} (Paused)"),
            State::Restarting(status) => format!("Restarting ({status}) {time} ago"),
            State::Exited(status) => format!("Exited ({status}) {time} ago"),
        }
    }
}

/// A fact that is a moment.
pub fn moment(record: &Record, name: &str) -> Result<Option<Duration>> {
    Ok(record.read(name)?.and_then(|text| time::parse(&text).ok()))
}

/// The state in one word, as Docker calls it.
pub fn word(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Restarting(_) => "restarting",
        State::Exited(_) => "exited",
    }
}

/// The command on one line, with quotes around arguments that have spaces in them.
pub fn command(words: &[OsString]) -> String {
    let quoted = |word: &OsString| match word.to_string_lossy() {
        word if word.contains(' ') => format!("'{word}'"),
        word => word.into_owned(),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// At most so many letters, the last of them `…` where some are left out.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
