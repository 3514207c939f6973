//! Images and state directories that cannot be used.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::libc;
use nix::mount::{MsFlags, mount};

use crate::chapter::Chapter::{Overlay, PivotRoot};
use crate::checks::check::Check;
use crate::machine::mounts::{bind, rebind, tmpfs};
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "rootfs-missing",
        PivotRoot,
        "--rootfs of what is not there, or is a file, is refused.",
        rootfs_missing,
    )
    .without_container(),
    Check::new(
        "chroot-said",
        PivotRoot,
        "In a chroot whose root is no mount point, run works, or says in one line that this is why it cannot.",
        chroot_says_so,
    ),
    Check::new(
        "rootfs-empty",
        PivotRoot,
        "--rootfs of an empty directory, which has no command, is refused, and the directory stays empty.",
        rootfs_empty,
    )
    .without_container(),
    Check::new(
        "rootfs-unreadable",
        PivotRoot,
        "--rootfs of a directory that may not be read is refused.",
        rootfs_unreadable,
    ),
    Check::new("state-read-only", PivotRoot, "A read-only state directory is refused.", state_read_only)
        .without_container(),
    Check::new(
        "state-full",
        PivotRoot,
        "A full state directory is refused, and no half image stays.",
        state_full,
    )
    .without_container(),
    Check::new(
        "state-full-later",
        Overlay,
        "A state directory that is full once the image is made is refused, and no workspace stays.",
        state_full_later,
    ),
    Check::new(
        "state-no-directory",
        PivotRoot,
        "A state directory that is a file is refused, and stays as it was.",
        state_no_directory,
    )
    .without_container(),
];

fn refused(lab: &Lab, root: &Path, codes: &[i32]) -> Result<()> {
    let root = root.to_str().context("the temporary directory's path is no text")?;
    lab.sh("echo ran").with(["--rootfs", root]).finish()?.refuses(codes)?;
    Ok(())
}

fn rootfs_missing(lab: &Lab) -> Result<()> {
    refused(lab, &lab.path("missing"), &[125])?;
    fs::write(lab.path("file"), "no directory")?;
    refused(lab, &lab.path("file"), &[125])?;
    lab.sh("echo ran").with(["--rootfs", ""]).finish()?.refuses(&[125])?;
    Ok(())
}

fn rootfs_empty(lab: &Lab) -> Result<()> {
    let empty = lab.folder("empty")?;
    refused(lab, &empty, &[125, 126, 127])?;
    let made: Vec<_> = fs::read_dir(&empty)?.flatten().map(|entry| entry.path()).collect();
    see::same("run --rootfs EMPTY sh", "files in the empty directory:", Vec::new(), made)
}

fn rootfs_unreadable(lab: &Lab) -> Result<()> {
    let closed = lab.image()?;
    fs::set_permissions(&closed, Permissions::from_mode(0o000))?;
    // Root reads everything, by two capabilities. Without these, root is a user like any other.
    let like_any_other = || {
        const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
        const CAP_DAC_READ_SEARCH: libc::c_ulong = 2;
        for capability in [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH] {
            // SAFETY: takes numbers only.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    let root = closed.to_str().context("the temporary directory's path is no text")?;
    let outcome = lab.sh("echo ran").with(["--rootfs", root]).prepared(like_any_other).finish();
    fs::set_permissions(&closed, Permissions::from_mode(0o755))?;
    outcome?.refuses(&[125, 126, 127])?;
    Ok(())
}

fn state_read_only(lab: &Lab) -> Result<()> {
    let state = lab.folder("read-only")?;
    bind(&state, &state)?;
    rebind(&state, MsFlags::MS_RDONLY)?;
    lab.arranged()?;
    lab.sh("echo ran").state(&state).finish()?.refuses(&[125])?;
    if lab.has(Overlay) {
        // With an image there already, it is the workspace that cannot be made.
        rebind(&state, MsFlags::empty())?;
        lab.run(["true"]).state(&state).finish()?.succeeds()?;
        rebind(&state, MsFlags::MS_RDONLY)?;
        lab.arranged()?;
        lab.sh("echo ran").state(&state).finish()?.refuses(&[125])?;
    }
    Ok(())
}

fn state_full(lab: &Lab) -> Result<()> {
    let state = lab.folder("small")?;
    tmpfs(&state, MsFlags::empty(), "size=64k,mode=700")?;
    lab.arranged()?;
    let outcome = lab.sh("echo ran").state(&state).finish()?;
    outcome.refuses(&[125])?;
    let left: Vec<_> = fs::read_dir(state.join("images"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    see::same(&outcome.line, "in images/", Vec::new(), left)
}

fn state_full_later(lab: &Lab) -> Result<()> {
    let state = lab.folder("small")?;
    tmpfs(&state, MsFlags::empty(), "size=64m,nr_inodes=2000,mode=700")?;
    lab.arranged()?;
    lab.run(["true"]).state(&state).finish()?.succeeds()?;
    // Files take an inode each, until there is none for a directory either.
    let fill = state.join("fill");
    fs::create_dir(&fill)?;
    let mut number = 0;
    while File::create(fill.join(number.to_string())).is_ok() {
        number += 1;
    }
    let outcome = lab.sh("echo ran").state(&state).finish()?;
    outcome.refuses(&[125])?;
    see::same(&outcome.line, "of containers", Vec::new(), lab.containers_in(&state))?;
    fs::remove_dir_all(fill)?;
    lab.sh("echo ran").state(&state).finish()?.succeeds()?.prints("ran\n")?;
    Ok(())
}

fn state_no_directory(lab: &Lab) -> Result<()> {
    fs::write(lab.state(), "a file")?;
    let outcome = lab.sh("echo ran").finish()?;
    outcome.refuses(&[125])?;
    see::same(&outcome.line, "the file to hold", "a file", fs::read_to_string(lab.state())?.as_str())
}

/// A root like the host's, below a directory that is no mount point itself.
fn root_without_mount(lab: &Lab) -> Result<PathBuf> {
    let root = lab.folder("chroot")?;
    for entry in fs::read_dir("/").context("listing /")? {
        let entry = entry?;
        let place = root.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, place)?;
        } else if kind.is_dir() {
            fs::create_dir(&place)?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&entry.path()), &place, None::<&str>, flags, None::<&str>)
                .with_context(|| format!("binding {}", entry.path().display()))?;
        }
    }
    lab.arranged()?;
    Ok(root)
}

fn chroot_says_so(lab: &Lab) -> Result<()> {
    let root = root_without_mount(lab)?;
    let top = CString::new(root.as_os_str().as_bytes())?;
    let enter = move || {
        // The directory too, or a shell that is a runtime's wrapper says that it cannot find itself.
        // SAFETY: two system calls, with strings that outlive them.
        let entered = unsafe { libc::chroot(top.as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 };
        if entered { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    let outcome = lab.sh("echo ran").prepared(enter).finish()?;
    if outcome.status.success() {
        outcome.succeeds()?.prints("ran\n")?;
    } else {
        outcome.refuses(&[125])?.mentions("chroot")?;
    }
    Ok(())
}
