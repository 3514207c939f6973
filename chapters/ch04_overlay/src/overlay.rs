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
    explained(mount_with(&options(lowers, upper, work), target), target)
}

/// The layers, as the kernel wants to be told of them.
pub(crate) fn options(lowers: &[&Path], upper: &Path, work: &Path) -> OsString {
    let lowers: Vec<_> = lowers.iter().map(|lower| escape(lower)).collect();
    let mut options = OsString::from("lowerdir=");
    options.push(lowers.join(OsStr::new(":")));
    options.push(",upperdir=");
    options.push(escape(upper));
    options.push(",workdir=");
    options.push(escape(work));
    options
}

pub(crate) fn mount_with(options: &OsStr, target: &Path) -> nix::Result<()> {
    // The kernel copies one page of them and drops the rest without a word: half a path may be another path.
    if options.len() > LONGEST_OPTIONS {
        return Err(Errno::E2BIG);
    }
    mounts::mount("overlay", target, "overlay", MsFlags::empty(), options)
}

/// An error gets a hint, where there is something to be done about it.
pub(crate) fn explained(mounted: nix::Result<()>, target: &Path) -> Result<()> {
    let hint = match mounted {
        Err(Errno::EINVAL) => " (is the state directory on an overlay? see `cargo lab doctor`)",
        Err(Errno::ENODEV) => " (this kernel has no overlayfs: see `cargo lab doctor`)",
        _ => "",
    };
    mounted.with_context(|| format!("mounting overlay on {}{hint}", target.display()))
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
