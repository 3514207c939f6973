//! Directories in layers, seen as one: mount(2), and overlayfs.rst of the kernel.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Context, Result};
use ch01_run::mounts;
use nix::errno::Errno;
use nix::mount::MsFlags;

/// The longest options that mount(2) takes: a page, less the NUL byte at its end.
const LONGEST_OPTIONS: usize = 4095;

/// Mounts on `target` what is in `upper`, and under it what is in the directories `lowers`, the topmost first, which
/// nobody can change this way. overlayfs prepares a file in `work` before it moves it to `upper` in one step, so both are
/// on the same file system.
///
/// Call it in the container's private mount namespace: there the kernel itself unmounts it when the last process has
/// ended, by whatever death, and the host never has it.
pub fn mount(lowers: &[&Path], upper: &Path, work: &Path, target: &Path) -> Result<()> {
    let lowers: Vec<_> = lowers.iter().map(|lower| escape(lower)).collect();
    let mut options = OsString::new();
    for (option, value) in [
        ("lowerdir=", lowers.join(OsStr::new(":"))),
        (",upperdir=", escape(upper)),
        (",workdir=", escape(work)),
    ] {
        options.push(option);
        options.push(value);
    }
    // volatile: nothing here waits for the disk. Without it, the end of this mount writes out all that is
    // unwritten on the file system of `upper`, other programs' data too; and our files are deleted right after.
    let mut volatile = options.clone();
    volatile.push(",volatile");
    let mounted = match mount_once(target, &volatile) {
        // EINVAL: unknown before Linux 5.10. EIO: a write to that disk has failed, and nobody was told yet.
        Err(Errno::EINVAL | Errno::EIO) => mount_once(target, &options),
        mounted => mounted,
    };
    let hint = match mounted {
        Err(Errno::EINVAL) => " (is the state directory on an overlay? see `cargo lab doctor`)",
        Err(Errno::ENODEV) => " (this kernel has no overlayfs: see `cargo lab doctor`)",
        _ => "",
    };
    mounted.with_context(|| format!("mounting overlay on {}{hint}", target.display()))
}

fn mount_once(target: &Path, options: &OsString) -> nix::Result<()> {
    // The kernel copies one page of them and drops the rest without a word: half a path may be another path.
    if options.len() > LONGEST_OPTIONS {
        return Err(Errno::E2BIG);
    }
    mounts::mount("overlay", target, "overlay", MsFlags::empty(), options)
}

/// A path in overlay options: `:` stands between layers there, `,` between options, `\` before either to
/// mean the character itself.
fn escape(path: &Path) -> OsString {
    let escaped = path.as_os_str().as_bytes().iter().flat_map(|byte| match byte {
        b':' | b',' | b'\\' => vec![b'\\', *byte],
        _ => vec![*byte],
    });
    OsString::from_vec(escaped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_escaped() {
        assert_eq!(escape(Path::new(r"/a:b,c\d e")), OsString::from(r"/a\:b\,c\\d e"));
    }
}
