//! The host that a check and its runtime see: namespaces(7), mount(2), pid_namespaces(7), capabilities(7).
//!
//! A learner's runtime runs as root, and may well be wrong. Here it has processes, mounts, devices, network, IPC and
//! cgroups that go away with the check, the machine's own files can only be read, and what is written to `/tmp` is in
//! memory. So `rm -rf`, `umount -a`, `kill -9 -1`, a full disk or a fork bomb stay in here.
//!
//! Root is root: a program that *wants* out finds a way, for it may mount and make devices, as every container runtime
//! must. This protects from mistakes, not from malice; for that, use a virtual machine.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{AccessFlags, access};

use crate::grader::cell::HOST;
use crate::machine::mounts::{self, Mount, bind, rebind, tmpfs};

/// For all that a check and its runtime write.
const TEMPORARY: &str = "/tmp";

/// No check needs half of it.
const SIZE: &str = "size=512m,mode=1777";

const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What no container runtime needs, and what would be felt outside: module loading, raw hardware access, the clock,
/// rebooting, the kernel's log, immutable files.
const CAPABILITIES_LESS: [libc::c_ulong; 6] = [16, 17, 25, 22, 34, 9];

/// Moves this process into the cell, and all that it starts from now on into namespaces of their own. It must have one
/// thread. Its next child is process 1 of the new host.
pub(crate) fn enter(cell: &[PathBuf]) -> Result<()> {
    for directory in cell {
        join(directory)?;
    }
    let new = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(new).context("making new namespaces")?;
    for directory in cell.iter().filter(|directory| directory.join("cgroup.subtree_control").exists()) {
        let host = directory.join(HOST);
        fs::create_dir(&host).with_context(|| format!("making the cgroup {}", host.display()))?;
        join(&host)?;
    }
    Ok(())
}

fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))
}

/// Arranges the files of the new host. `program` stays where it is, even below `/tmp`.
pub(crate) fn arrange(program: &Path) -> Result<()> {
    mounts::propagation(MsFlags::MS_PRIVATE)?;
    let own = program.parent().context("the runtime has no directory")?;
    let beside = open(if own == Path::new(TEMPORARY) { program } else { own })?;
    let table = mounts::table()?;
    for mount in &table {
        read_only(mount)?;
    }

    tmpfs(Path::new(TEMPORARY), MsFlags::empty(), SIZE)?;
    if program.starts_with(TEMPORARY) {
        show(program, own, &beside)?;
    }
    devices(&table)?;
    cgroups(&table)
}

fn open(path: &Path) -> Result<fs::File> {
    let open = fs::File::options().read(true).custom_flags(libc::O_PATH).open(path);
    open.with_context(|| format!("opening {}", path.display()))
}

/// Makes one mount read-only, with its other flags as they are.
fn read_only(mount: &Mount) -> Result<()> {
    let mut flags = MsFlags::MS_RDONLY;
    for (option, flag) in [
        ("nosuid", MsFlags::MS_NOSUID),
        ("nodev", MsFlags::MS_NODEV),
        ("noexec", MsFlags::MS_NOEXEC),
        ("noatime", MsFlags::MS_NOATIME),
        ("nodiratime", MsFlags::MS_NODIRATIME),
        ("relatime", MsFlags::MS_RELATIME),
    ] {
        flags.set(flag, mount.has(option));
    }
    match rebind(Path::new(&mount.point), flags) {
        // Another mount covers it: no path leads there, and so no runtime.
        Err(_) if mounts::table()?.iter().filter(|other| other.point == mount.point).count() > 1 => Ok(()),
        Err(_) if !Path::new(&mount.point).exists() => Ok(()),
        made => made,
    }
}

/// Makes the runtime appear again below the new `/tmp`, with what stands beside it: it may be a script that needs more.
fn show(program: &Path, own: &Path, beside: &fs::File) -> Result<()> {
    let link = PathBuf::from(format!("/proc/self/fd/{}", beside.as_raw_fd()));
    let place = if own == Path::new(TEMPORARY) {
        fs::write(program, "").with_context(|| format!("making {}", program.display()))?;
        program
    } else {
        fs::create_dir_all(own).with_context(|| format!("making {}", own.display()))?;
        own
    };
    bind(&link, place)?;
    rebind(place, MsFlags::MS_RDONLY)
}

/// A `/dev` with terminals of its own, and no disk.
fn devices(table: &[Mount]) -> Result<()> {
    for mount in table.iter().rev().filter(|mount| Path::new(&mount.point).starts_with("/dev")) {
        umount2(mount.point.as_str(), MntFlags::MNT_DETACH)
            .with_context(|| format!("unmounting {}", mount.point))?;
    }
    tmpfs(Path::new("/dev"), MsFlags::MS_NOSUID, "mode=755,size=1m")?;
    let mask = umask(Mode::empty());
    for (name, major, minor) in DEVICES {
        let everyone = Mode::from_bits_truncate(0o666);
        mknod(&Path::new("/dev").join(name), SFlag::S_IFCHR, everyone, makedev(major, minor))
            .with_context(|| format!("making /dev/{name}"))?;
    }
    umask(mask);
    for (name, target) in LINKS {
        symlink(target, Path::new("/dev").join(name)).with_context(|| format!("linking /dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(Path::new("/dev").join(name)).with_context(|| format!("making /dev/{name}"))?;
    }
    let options = Some("newinstance,ptmxmode=0666,mode=620");
    mount(Some("devpts"), "/dev/pts", Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, options)
        .context("mounting /dev/pts")
}

/// Mounts each hierarchy anew, so that the cell is its root. What the new `/tmp` or another mount covers no path leads to.
fn cgroups(table: &[Mount]) -> Result<()> {
    let is_cgroup = |mount: &&Mount| mount.filesystem.starts_with("cgroup") && mount.is_visible();
    let hierarchies: Vec<_> = table.iter().filter(is_cgroup).collect();
    for mount in hierarchies.iter().rev() {
        umount2(mount.point.as_str(), MntFlags::MNT_DETACH)
            .with_context(|| format!("unmounting {}", mount.point))?;
    }
    for hierarchy in hierarchies {
        // Of the options, those that say which hierarchy it is: its controllers, or its name.
        let which: Vec<_> =
            hierarchy.super_options.split(',').filter(|option| !["rw", "ro"].contains(option)).collect();
        let options = (hierarchy.filesystem == "cgroup").then(|| which.join(","));
        let kind = hierarchy.filesystem.as_str();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("cgroup"), hierarchy.point.as_str(), Some(kind), flags, options.as_deref())
            .with_context(|| format!("mounting {}", hierarchy.point))?;
    }
    Ok(())
}

/// The part that takes process 1 of the new host: a `/proc` that shows its processes, without the switches of the
/// kernel that are no namespace's; and fewer capabilities for what will be executed.
pub(crate) fn begin() -> Result<()> {
    umount2("/proc", MntFlags::MNT_DETACH).context("unmounting /proc")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).context("mounting /proc")?;
    // The settings of a network are its namespace's, and others than this host's aren't in sight.
    let places = [("/proc/sys", true), ("/proc/sys/net", false), ("/proc/sysrq-trigger", true)];
    for (path, is_read_only) in places.map(|(path, is)| (Path::new(path), is)) {
        if path.exists() {
            bind(path, path)?;
            rebind(path, if is_read_only { flags | MsFlags::MS_RDONLY } else { flags })?;
        }
    }
    for capability in CAPABILITIES_LESS {
        // SAFETY: takes numbers only. A kernel that does not know the capability says EINVAL, and cannot give it.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    std::env::set_current_dir(TEMPORARY).context("changing directory")
}

/// Else every check would be red, and for a reason that is not the runtime's.
pub(crate) fn can_execute(program: &Path) -> Result<()> {
    access(program, AccessFlags::X_OK).with_context(|| {
        let path = program.display();
        format!("{path} cannot be executed there (its /dev, /proc and cgroups are its own, and other mounts are as here, noexec too)")
    })
}
