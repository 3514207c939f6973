//! Whoever called: the lab becomes root to make containers, but what it builds and writes for someone is theirs.
//! credentials(7), setfsuid(2).

use std::env;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{panic, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{
    Gid, Uid, User, geteuid, getgrouplist, initgroups, setfsgid, setfsuid, setgid, setgroups, setuid,
};
use serde_json::Value;

/// A user who is not root.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    uid: Uid,
    gid: Gid,
    /// Not every user id has a name.
    user: Option<User>,
}

impl Caller {
    /// The user who became root by sudo for this, if one did.
    pub(crate) fn by_sudo() -> Result<Option<Caller>> {
        let number = |name: &str| -> Result<Option<u32>> {
            let Some(text) = env::var_os(name) else { return Ok(None) };
            let number = text.to_str().and_then(|text| text.parse().ok());
            number.map(Some).with_context(|| format!("{name} is no number: {text:?}"))
        };
        match (number("SUDO_UID")?, number("SUDO_GID")?) {
            (Some(uid), Some(gid)) if uid != 0 && geteuid().is_root() => Caller::new(uid, gid).map(Some),
            _ => Ok(None),
        }
    }

    /// The one whose directory it is, unless that is root. Of one that is not there, the next above it counts.
    pub(crate) fn owner(directory: &Path) -> Result<Option<Caller>> {
        let absolute = std::path::absolute(directory)?;
        let there = absolute.ancestors().find(|path| path.exists()).unwrap_or(&absolute);
        let data = fs::metadata(there).with_context(|| format!("looking at {}", there.display()))?;
        let other = data.uid() != 0 && geteuid().is_root();
        other.then(|| Caller::new(data.uid(), data.gid())).transpose()
    }

    fn new(uid: u32, gid: u32) -> Result<Caller> {
        let user = User::from_uid(Uid::from_raw(uid)).context("looking for the caller")?;
        Ok(Caller { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), user })
    }

    /// Their user and group ids.
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Gives up root for good, in this process.
    pub(crate) fn become_them(&self) -> Result<()> {
        match &self.user {
            Some(user) => initgroups(&CString::new(user.name.as_str())?, self.gid),
            None => setgroups(&[]),
        }
        .and_then(|()| setgid(self.gid))
        .and_then(|()| setuid(self.uid))
        .context("becoming the caller again")
    }

    /// Does `work` on files with their rights, in a thread: what it makes is theirs, and what they may not do fails.
    fn with_their_rights<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let theirs = || {
            let groups = match &self.user {
                Some(user) => getgrouplist(&CString::new(user.name.as_str())?, self.gid)?,
                None => vec![self.gid],
            };
            // The C library's setgroups would change all threads; to the kernel, each has groups of its own.
            // SAFETY: `Gid` is a gid_t, and the list is longer-lived than the call.
            let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
            Errno::result(set).context("setgroups")?;
            setfsgid(self.gid);
            setfsuid(self.uid); // tells no error, and the kernel has none for root
            work()
        };
        let done = thread::scope(|scope| scope.spawn(theirs).join());
        done.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

/// Does `work`, which makes files at `path`, with the rights of whoever called by sudo; or, if root itself called, of the
/// directory's owner.
pub(crate) fn as_user_for<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match user_for(path)? {
        Some(user) => user.with_their_rights(work),
        None => work(),
    }
}

/// Does `work`, which makes files in `directory`, with the rights of its owner, so that they own them too.
pub fn as_owner<T: Send>(directory: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match Caller::owner(directory)? {
        Some(user) => user.with_their_rights(work),
        None => work(),
    }
}

/// cargo, to be run in `directory` as its owner, with the PATH of whoever called.
pub fn cargo_as_owner(directory: &Path) -> Result<Command> {
    Ok(cargo(directory, Caller::owner(directory)?.as_ref()))
}

/// cargo, to be run in `directory` as `user`, with the PATH that the caller has.
pub(crate) fn cargo(directory: &Path, user: Option<&Caller>) -> Command {
    program_as("cargo", directory, user)
}

/// A program, to be run in the same way.
pub(crate) fn program_as(program: &str, directory: &Path, user: Option<&Caller>) -> Command {
    // .cargo/as-root hands it down, for sudo sets a PATH of its own.
    let mut path = env::var_os("LAB_PATH").or_else(|| env::var_os("PATH")).unwrap_or_default();
    let mut command = Command::new(program);
    if let Some(caller) = user {
        if let Some(user) = &caller.user {
            command.env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
            path = [path, user.dir.join(".cargo/bin").into()].join(&OsString::from(":"));
        }
        let caller = caller.clone();
        let become_them = move || caller.become_them().map_err(std::io::Error::other);
        // SAFETY: initgroups(3) reads files and takes memory, which is not safe in the child of a process with many
        // threads if one holds a lock at that moment. The C library takes care of its own locks over fork(2).
        unsafe { command.pre_exec(become_them) };
    }
    // What cargo set for the lab itself must not reach another cargo.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command.env("PATH", path).current_dir(directory).stdin(Stdio::null());
    command
}

/// Builds the crate in `directory`, as the caller, or as its owner if root itself called; returns its one program.
/// What cargo tells meanwhile goes to stderr: it may take a minute.
pub(crate) fn build(directory: &Path, package: Option<&str>) -> Result<PathBuf> {
    built(directory, package.map(|package| format!("--package={package}")).as_slice())
}

/// The same for one program of a workspace that has several in one package, or none of it.
pub(crate) fn build_program(directory: &Path, name: &str) -> Result<PathBuf> {
    built(directory, &[format!("--package={name}"), format!("--bin={name}")])
}

fn built(directory: &Path, which: &[String]) -> Result<PathBuf> {
    let user = user_for(directory)?;
    let mut cargo = cargo(directory, user.as_ref());
    cargo.args(BUILD).args(SHOWN).args(which).stderr(Stdio::inherit());
    let output = cargo.output().context("running cargo, which must be in PATH")?;
    ensure!(output.status.success(), "cargo build failed in {}", directory.display());
    program(&output.stdout)
}

/// Whose the things in a directory are to be, unless they are root's.
pub(crate) fn user_for(directory: &Path) -> Result<Option<Caller>> {
    Ok(Caller::by_sudo()?.or(Caller::owner(directory)?))
}

/// So that cargo tells where the program is.
pub(crate) const BUILD: [&str; 3] = ["build", "--quiet", "--message-format=json-render-diagnostics"];

/// So that cargo, quiet otherwise, shows how far it is, and wipes that in the end.
const SHOWN: [&str; 2] = ["--config=term.progress.when='always'", "--config=term.progress.width=80"];

/// The program that was built, from what cargo told.
pub(crate) fn program(messages: &[u8]) -> Result<PathBuf> {
    let text = String::from_utf8_lossy(messages);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_program = |message: &Value| {
        message["target"]["kind"].as_array().is_some_and(|kinds| kinds.contains(&"bin".into()))
    };
    let programs: Vec<_> =
        messages.filter(is_program).filter_map(|m| m["executable"].as_str().map(PathBuf::from)).collect();
    match programs.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("the crate has no program (src/main.rs)"),
        many => bail!("the crate has more than one program: name one with --runtime: {many:?}"),
    }
}
