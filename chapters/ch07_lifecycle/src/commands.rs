//! The commands, each with its story in a file of its own.

use anyhow::Result;
use ch01_run::messages;

pub mod run;
pub mod logs;
pub mod exec;
pub mod attach;
pub mod wait;
pub mod stop;
pub mod kill;
pub mod start;
pub mod rename;
pub mod rm;
pub mod ps;
pub mod inspect;
pub mod top;
pub mod stats;
pub mod pause;
pub mod unpause;
pub mod cp;
pub mod completion;

/// What goes wrong with a container that is there, or is not, has status 1, as with Docker: 125 is for `run`.
pub fn of_existing(done: Result<u8>) -> Result<u8> {
    done.or_else(|error| {
        messages::fail(&error);
        Ok(1)
    })
}
