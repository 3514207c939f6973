//! The kernel's own list of mounts: proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::stat::makedev;

/// One line of `/proc/self/mountinfo`, the parts that we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The device number of its file system, as stat(2) has it.
    pub device: u64,
    /// Where it is mounted.
    pub target: PathBuf,
    /// What holds for this mount: `rw,nosuid`.
    pub options: String,
    /// For example `ext4`, or `cgroup2`.
    pub filesystem: String,
    /// What is mounted: a disk, or a name that whoever mounted it has chosen.
    pub source: String,
    /// What holds for the file system wherever it is mounted; for cgroup v1, its controllers.
    pub super_options: String,
}

/// All mounts of this process's mount namespace, those that others cover included.
pub fn read() -> Result<Vec<Mount>> {
    let path = "/proc/self/mountinfo";
    // Room for most lists from the start: the kernel writes this file anew for every read(2), and fs::read, which
    // finds no size, would begin with very small ones.
    let mut text = Vec::with_capacity(16 * 1024);
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut text));
    read.with_context(|| format!("reading {path}"))?;
    parse(&text).with_context(|| format!("parsing {path}"))
}

impl Mount {
    /// Whether its path leads to it. Another mount may cover it.
    pub fn is_visible(&self) -> bool {
        fs::metadata(&self.target).is_ok_and(|data| data.dev() == self.device)
    }
}

/// Parses the text of a mountinfo file, for example this line:
///
/// ```text
/// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
///  0  1    2     3     4          5 [optional]  0    1         2
/// ```
///
/// Any number of optional fields may stand before the `-`, so what follows is counted from there.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse_line(line).with_context(|| format!("unexpected line {:?}", String::from_utf8_lossy(line)))
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<_> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let (major, minor) = str::from_utf8(fields.get(2)?).ok()?.split_once(':')?;
    Some(Mount {
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        options: text(fields.get(5)?),
        target: OsString::from_vec(unescape(fields.get(4)?)).into(),
        filesystem: text(fields.get(dash + 1)?),
        source: text(fields.get(dash + 2)?),
        super_options: text(fields.get(dash + 3)?),
    })
}

/// The kernel writes a space, a tab, a newline and a backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (byte, after) = match code.filter(|_| first == b'\\') {
            Some(code) => (code, &after[3..]),
            None => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_and_escapes() {
        let text = b"36 35 98:0 / /a\\040b\\134c rw,noatime - ext3 /dev/root rw,errors=continue\n\
                     40 31 0:38 / /sys/fs/cgroup/cpu rw shared:5 master:1 - cgroup cgroup rw,cpu,cpuacct\n";
        let mounts = parse(text).unwrap();
        assert_eq!(mounts[0].target, PathBuf::from("/a b\\c"));
        assert_eq!(
            (mounts[1].filesystem.as_str(), mounts[1].super_options.as_str()),
            ("cgroup", "rw,cpu,cpuacct")
        );
    }

    #[test]
    fn a_short_line_is_an_error() {
        for bad in ["x\n", "36 35 98:0 / /a rw -\n", "36 35 98:0 / /a rw ext3 a b\n", "- - - -\n"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
