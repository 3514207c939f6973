//! `login`: a user and a password are tried at a registry, and kept for the next time. termios(3).

use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin};

use anyhow::{Context, Result, ensure};
use ch01_run::messages;
use ch07_lifecycle::output::print_line;
use log::{LevelFilter, warn};
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use ureq::http::{Method, StatusCode};

use crate::answer::accepted;
use crate::credentials::{ConfigFile, Credentials, registry_of};
use crate::registry::{Payload, Question, Registry, keep_secrets};

/// The longest password that is read, in bytes. Some are tokens of some kilobytes.
const LONGEST: u64 = 64 << 10;

/// Keys of a terminal whose keys are bytes.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;
const BACKSPACE: u8 = 127;

/// Arguments of `login`.
#[derive(clap::Args)]
pub struct Args {
    /// The user [default: asked for]
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password, for all to see who list processes [default: asked for]
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Without encryption. Registries on this machine are always asked so
    #[arg(long)]
    plain_http: bool,
    /// What to tell on stderr: error, warn, info, debug or trace [default: $RUST_LOG, else warn]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
    /// The registry [default: docker.io]
    server: Option<String>,
}

/// All that `login` does, in order.
pub fn login(args: Args) -> Result<u8> {
    messages::start_log(args.log_level)?;
    keep_secrets();
    let name = registry_of(args.server.as_deref())?;
    let mut file = ConfigFile::of_caller()?;
    if args.password.is_some() {
        warn!("a password on a command line can be read by all who list processes: use --password-stdin");
    }
    ensure!(!args.password_stdin || args.username.is_some(), "--password-stdin needs --username");
    let user = args.username.map_or_else(|| ask("Username: ", true), Ok)?;
    let password = match args.password {
        Some(password) => password,
        None if args.password_stdin => piped()?,
        None => ask("Password: ", false)?,
    };
    ensure!(!user.is_empty() && !user.contains(':'), "{user:?} is no user's name");
    ensure!(!password.is_empty(), "the password is empty");
    let credentials = Credentials { user, password };
    let registry = Registry::new(&name, args.plain_http, Some(credentials.clone()))?;
    let question =
        Question { method: Method::GET, uri: registry.at("")?, headers: Vec::new(), payload: Payload::None };
    accepted(registry.ask(&question)?, &[StatusCode::OK]).with_context(|| format!("login at {name}"))?;
    file.set(&name, Some(&credentials))?;
    eprint(&format!("The password is kept unencrypted in {}\n", file.path().display()));
    print_line("Login Succeeded")?;
    Ok(0)
}

fn piped() -> Result<String> {
    let mut text = String::new();
    stdin().lock().take(LONGEST).read_to_string(&mut text).context("reading the password from stdin")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

/// Asks at the terminal, and shows what is typed or not.
fn ask(words: &str, shown: bool) -> Result<String> {
    ensure!(stdin().is_terminal(), "stdin is no terminal to ask at: use --username and --password-stdin");
    eprint(words);
    if shown {
        let mut line = String::new();
        stdin().lock().take(LONGEST).read_line(&mut line).context("reading from the terminal")?;
        return Ok(line.trim_end().to_string());
    }
    let hidden = Hidden::new()?;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stdin().lock().read(&mut byte).context("reading from the terminal")? == 1 {
        match byte[0] {
            b'\n' | b'\r' | CTRL_D => break,
            CTRL_C => {
                drop(hidden);
                raise(Signal::SIGINT).context("ending by Ctrl-C")?;
                break;
            }
            CTRL_U => line.clear(),
            BACKSPACE => drop(line.pop()),
            other => line.push(other),
        }
    }
    String::from_utf8(line).context("reading from the terminal")
}

fn eprint(words: &str) {
    let _ = stderr().write_all(words.as_bytes()); // as with the log, nobody has to read it
}

/// The terminal shows nothing that is typed, and its keys are bytes: a Ctrl-C that ended us at once would leave it so. Dropped,
/// it is as it was.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Result<Hidden> {
        let before = tcgetattr(stdin()).context("reading the terminal's settings")?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(stdin(), SetArg::TCSAFLUSH, &hidden).context("hiding what is typed")?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSAFLUSH, &self.0);
        eprint("\n");
    }
}
