//! What the program tells people on stderr: the log, one line for an error, and the status that says the same. stderr(3).

use std::env;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::errors;

/// All that is left for `main` to do: `run` what the command line asks for, and turn how that went into the status of
/// this program. `--help` is printed on stdout; any error is one line on stderr.
pub fn exit<T>(parsed: Result<T, clap::Error>, run: impl FnOnce(T) -> Result<u8>) -> ExitCode {
    let status = match parsed {
        Err(help) if !help.use_stderr() => help.exit(),
        Err(usage) => Err(usage.into()),
        Ok(asked) => run(asked),
    };
    status.unwrap_or_else(|error| fail(&error)).into()
}

/// Lets the log tell as much as `--log-level` says, or RUST_LOG, or else only warnings.
pub fn start_log(level: Option<LevelFilter>) -> Result<()> {
    let logger = SimpleLogger::new().with_level(LevelFilter::Warn).env();
    let logger = level.into_iter().fold(logger, SimpleLogger::with_level);
    log::set_max_level(logger.max_level());
    Ok(log::set_boxed_logger(Box::new(MayBeUnread(logger)))?)
}

/// simple_logger but for its last step: it prints with `eprintln!`, which panics when stderr is a closed pipe or on a
/// full disk (`run … 2>&1 | head`). That nobody reads any more is no reason to end a container in the middle.
struct MayBeUnread(SimpleLogger);

impl Log for MayBeUnread {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // In one write(2): the child's log goes the same way at the same time.
            let line = format!("[{:<5} {}] {}\n", record.level(), record.target(), record.args());
            let _ = stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// One line on stderr, that begins with the program's name.
pub fn say(line: &str) {
    let path = env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().unwrap_or_default();
    let _ = writeln!(stderr(), "{}: {line}", name.display());
}

/// One line for an error, and the exit status that goes with it.
pub fn fail(error: &anyhow::Error) -> u8 {
    say(&errors::one_line(error));
    errors::exit_status(error)
}
