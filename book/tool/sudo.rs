//! The stage's `sudo`: this program under another name, owned by root and set-user-ID, on a file system that
//! only the stage has. It gives the environment that the real one gives, and asks nobody.

use std::convert::Infallible;
use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, getgid, getuid, setgroups, setresgid, setresuid};

/// Becomes root, then the command. Returns only if that fails.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match run(arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("sudo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<Infallible> {
    let mut arguments = arguments.peekable();
    let mut keep = false;
    let mut variables = Vec::new();
    let mut name = "root".to_string();
    while let Some(word) = arguments.peek().cloned() {
        match word.as_str() {
            "-E" => keep = true,
            "-H" | "-n" => {}
            "-u" => {
                arguments.next();
                name = arguments.peek().context("-u: no user")?.clone();
            }
            "--" => {
                arguments.next();
                break;
            }
            option if option.starts_with('-') => bail!("the stage's sudo has no option {option}"),
            other => match other.split_once('=') {
                Some((name, value)) => variables.push((name.to_string(), value.to_string())),
                None => break,
            },
        }
        arguments.next();
    }
    let program = arguments.next().context("no command")?;

    let (caller, group) = (getuid(), getgid());
    let before = User::from_uid(caller)?.map_or_else(|| caller.to_string(), |user| user.name);
    let user = User::from_name(&name)?.with_context(|| format!("unknown user {name}"))?;
    let mut command = Command::new(&program);
    command.args(arguments);
    if !keep {
        command.env_clear();
        let kept =
            env::vars().filter(|(name, _)| name == "TERM" || name == "LANG" || name.starts_with("LC_"));
        command.envs(kept);
    }
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
    command.env("SHELL", &user.shell).env("SUDO_USER", before);
    command.env("SUDO_UID", caller.to_string()).env("SUDO_GID", group.to_string());
    command.envs(variables);
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    setresuid(root, root, root)?;
    setresgid(wheel, wheel, wheel)?;
    setgroups(&[user.gid])?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    let error = command.exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        bail!("{program}: command not found");
    }
    Err(error).context(program)
}
