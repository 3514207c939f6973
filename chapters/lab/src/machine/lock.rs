//! What somebody without rights can do to a runtime that locks its files: take the locks first. flock(2).

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::libc;

/// The user that owns nothing.
pub(crate) const NOBODY: u32 = 65534;

/// A lock that an ordinary user has on a file or a directory. Dropped, it is given up.
#[derive(Debug)]
pub(crate) struct TheirLock(Child);

impl TheirLock {
    /// Locks what is at `path`, so that no other lock can be had, for a user without rights. `None` if that user may not
    /// open it, or it is locked already.
    pub(crate) fn on(path: &Path) -> Result<Option<TheirLock>> {
        let context = || format!("locking {} as an ordinary user", path.display());
        let name = CString::new(path.as_os_str().as_bytes()).with_context(context)?;
        let lock = move || {
            // SAFETY: two system calls, with a string that outlives them. The descriptor stays open across execve(2).
            let locked = unsafe {
                let open = libc::open(name.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK);
                open >= 0 && libc::flock(open, libc::LOCK_EX | libc::LOCK_NB) == 0
            };
            if locked { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        // SAFETY: as above.
        unsafe { command.pre_exec(lock) };
        match command.spawn() {
            Err(error) if [Some(libc::EACCES), Some(libc::EAGAIN)].contains(&error.raw_os_error()) => {
                Ok(None)
            }
            child => Ok(Some(TheirLock(child.with_context(context)?))),
        }
    }

    /// On each of these that can be had.
    pub(crate) fn on_all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Vec<TheirLock>> {
        let locks = paths.into_iter().map(TheirLock::on).collect::<Result<Vec<_>>>()?;
        Ok(locks.into_iter().flatten().collect())
    }
}

impl Drop for TheirLock {
    fn drop(&mut self) {
        // It sleeps, and cannot refuse either.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
