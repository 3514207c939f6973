//! `cargo lab watch N`: the checks again, whenever the runtime was built anew.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

use crate::grader::command::{self, Arguments};
use crate::grader::interrupt::interrupted;
use crate::see::tell;

/// How often the program is looked at. Twice the same, and whoever writes it has finished.
const PAUSE: Duration = Duration::from_millis(300);

/// The whole of `cargo lab watch`.
pub(crate) fn watch(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(!arguments.json, "watch is for people: there is no --json");
    let checks = command::chosen(arguments)?;
    let runtime = command::runtime(arguments)?;
    let mut seen = state(&runtime);
    loop {
        // An error of this run may be gone with the next build: the program is not there while it is written.
        if let Err(error) = command::graded(arguments, checks.clone(), runtime.clone()) {
            eprintln!("lab: {error:#}");
        }
        tell(&format!("\nwaiting for a new build of {} (Ctrl-C ends this)\n", runtime.display()))?;
        loop {
            thread::sleep(PAUSE);
            if interrupted() {
                return Ok(ExitCode::SUCCESS);
            }
            let now = state(&runtime);
            if now.is_some() && now != seen && now == after_a_pause(&runtime) {
                seen = now;
                break;
            }
        }
    }
}

fn after_a_pause(runtime: &Path) -> Option<(SystemTime, u64)> {
    thread::sleep(PAUSE);
    state(runtime)
}

/// What tells one build from another.
fn state(runtime: &Path) -> Option<(SystemTime, u64)> {
    let data = fs::metadata(runtime).ok()?;
    Some((data.modified().ok()?, data.len()))
}
