//! A process for which one directory is all there is, so that no link and no renaming leads it elsewhere. setns(2),
//! pivot_root(2), openat2(2).
//!
//! To look at a path first and use it then is no way to be safe: who can write to one of its directories puts a link
//! there in between. Here nobody need look. The host's files aren't mounted where this process is.

use std::convert::Infallible;
use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ch01_run::child::{self, Child};
use ch01_run::mounts;
use ch03_pivot_root::rootfs;
use ch04_overlay::volatile;
use ch05_volumes::{paths, volumes};
use ch06_init::filesystems;
use log::debug;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{chdir, dup2_stdin, dup2_stdout, fchdir};

use crate::asked::Plan;
use crate::lowers::Kept;
use crate::process1::Process1;
use crate::record::Record;
use crate::state::State;
use crate::{descriptors, inside, lowers};

/// Whose files.
#[derive(Debug)]
pub enum Root {
    /// Those of a container that lives: all that it sees itself.
    Running(Process1),
    /// Those of one that does not, with the locks that it stays so, and that nobody else has them mounted.
    Ended(Box<Plan>, Record, [File; 2]),
    /// Those in an open directory of the host. The path is that of a directory where it can be mounted.
    Host(File, PathBuf),
}

/// The ends of pipes that are to be its stdin and stdout. Where there is none, it has ours.
#[derive(Debug, Default)]
pub struct Ends {
    /// What it reads.
    pub stdin: Option<PipeReader>,
    /// What it writes to.
    pub stdout: Option<PipeWriter>,
}

/// Starts a process that does `work` with this root as its `/`, and as its working directory.
pub fn spawn(root: &Root, ends: Ends, work: impl Fn() -> Result<()>) -> Result<Child> {
    let inside = || -> Result<Infallible> {
        ends.stdin.as_ref().map_or(Ok(()), dup2_stdin).context("making a pipe our stdin")?;
        ends.stdout.as_ref().map_or(Ok(()), dup2_stdout).context("making a pipe our stdout")?;
        enter(root)?;
        work()?;
        std::process::exit(0)
    };
    let namespaces = match root {
        Root::Running(_) => CloneFlags::empty(),
        _ => CloneFlags::CLONE_NEWNS,
    };
    let mut child = child::spawn(namespaces, inside)?;
    child.open_gate()?;
    Ok(child)
}

/// Waits for its end. Why it failed, it has said itself, unless it was killed.
pub fn wait(child: &mut Child) -> Result<u8> {
    loop {
        let ended = waitid(Id::Pid(child.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        ended.with_context(|| format!("waiting for process {}", child.pid()))?;
        if let Some(status) = child.reap()? {
            let signal = status.checked_sub(128).map(|number| Signal::try_from(i32::from(number)));
            return match signal {
                Some(Ok(signal)) => bail!("a process that copies was killed by {signal}"),
                _ => Ok(status),
            };
        }
    }
}

/// Makes `root` our root. Nothing of the host's is open or mounted here then, and no path leads there.
fn enter(root: &Root) -> Result<()> {
    match root {
        Root::Running(process) => {
            // First, for the container's /proc has no place for us: we are none of its processes. The one that is left is
            // of a process in there, and leads nowhere else.
            descriptors::close_others_but(&[process.as_fd().as_raw_fd()])?;
            debug!("setns(pidfd of {}, CLONE_NEWNS)", process.pid());
            setns(process, CloneFlags::CLONE_NEWNS)
                .with_context(|| format!("entering the mount namespace of process {}", process.pid()))
        }
        Root::Ended(plan, record, _) => {
            mounts::make_private()?;
            volatile::remove_mark(record.directory());
            let merged = lowers::mount(record, &plan.lowers, Kept::ForLong)?;
            volumes::mount_all(&plan.volumes, &merged, &filesystems::PLACES)?;
            descriptors::close_others_but(&[])?;
            rootfs::pivot(&merged)?;
            if plan.asked.read_only { inside::make_root_read_only() } else { Ok(()) }
        }
        Root::Host(directory, _) if paths::of(directory)? == Path::new("/") => {
            descriptors::close_others_but(&[])?; // the whole host is wanted, and there is nothing to keep from it
            chdir("/").context("changing directory to /")
        }
        Root::Host(directory, mount_point) => {
            mounts::make_private()?;
            bind(directory, mount_point)?;
            descriptors::close_others_but(&[])?;
            rootfs::pivot(mount_point)
        }
    }
}

/// Mounts an open directory in a new mount namespace, which has copies of the mounts that it could be opened through.
/// Whatever has its name by now, it is that directory, or an error.
fn bind(directory: &File, mount_point: &Path) -> Result<()> {
    let path = paths::of(directory)?;
    let here = paths::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
    ensure!(identity(&here)? == identity(directory)?, "{} was replaced meanwhile", path.display());
    let source = format!("/proc/self/fd/{}", here.as_raw_fd());
    mounts::mount(source, mount_point, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")
        .with_context(|| format!("binding {} to {}", path.display(), mount_point.display()))
}

/// What a container was asked for. To read that we go where its user was then, and come back: the other side of the copy may
/// be a path that begins here.
fn plan_again(record: &Record, state_directory: &Path) -> Result<Plan> {
    let here = paths::open(Path::new(".")).context("opening the working directory")?;
    let plan = Plan::again(record, state_directory.to_path_buf());
    fchdir(&here).context("coming back to the working directory")?;
    plan
}

impl Root {
    /// That of a container, whether it lives or not.
    pub fn of(record: &Record, state_directory: &Path) -> Result<Root> {
        for _ in 0..100 {
            // In this order: until the state says that it runs, its process has the host's files in sight.
            if let Some(process) = Process1::of(record)?
                && State::of(record)?.runs()
            {
                return Ok(Root::Running(process));
            }
            // Shared: nobody takes it for alive because of us, but whoever starts or removes it waits.
            let open = |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
            let [directory, upper] = [open(record.directory())?, open(&record.path("upper"))?];
            if directory.try_lock_shared().is_ok() {
                upper.lock().context("waiting for another copy from or to the same container")?;
                let plan = plan_again(record, state_directory)?;
                return Ok(Root::Ended(Box::new(plan), record.clone(), [directory, upper]));
            }
            sleep(Duration::from_millis(10)); // it is on its way up or down
        }
        bail!("container {} neither starts nor ends", record.id())
    }
}
