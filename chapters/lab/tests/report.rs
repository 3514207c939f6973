//! Thirty submissions in one run, ten of them broken, each in a way of its own; and the host is as it was.

#[path = "../wrong/runtime.rs"]
mod runtime;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "run") {
        return runtime::main(); // a good submission is a link to this program
    }
    let arguments = Arguments::from_args();
    let class = || thirty().map_err(|error| Failed::from(format!("{error:#}")));
    lab::as_root(&arguments, vec![Trial::test("thirty-submissions", class)])
}

/// What the broken ones do. `CANARY` is a directory of the host's that must survive.
const BROKEN: [(&str, &str); 9] = [
    ("hangs", "exec sleep 100000"),
    ("forks", "bomb() { bomb | bomb & }\nbomb\nsleep 100000"),
    (
        "deletes",
        "rm -rf \"$BYHAND_ROOT\" CANARY /home /tmp/* /dev/* /var/lib/byhand /sys/fs/cgroup/*/byhand* 2> /dev/null",
    ),
    (
        "unmounts",
        "umount -a -l; umount -l /proc; umount -l /dev; umount -l /tmp; mount --bind /etc/passwd /dev/null; exit 0",
    ),
    ("kills", "kill -9 0; kill -9 -1; kill -9 $PPID"),
    (
        "fills",
        "cat /dev/zero > /tmp/fill; cat /dev/zero > CANARY/fill; cat /dev/zero > \"$BYHAND_ROOT/fill\"",
    ),
    (
        "leaves",
        "setsid sleep 98765 > /dev/null 2>&1 & for one in /sys/fs/cgroup/* /sys/fs/cgroup; do mkdir -p \"$one/left-by-lab-test\" \"$one/byhand/left\"; done",
    ),
    (
        "rewrites",
        "hostname rewritten; echo x > CANARY/file; echo x > /etc/left-by-lab-test; echo 1 > /proc/sys/vm/swappiness; date -s 2001-01-01",
    ),
    ("shouts", "yes shout; yes shout >&2"),
];

const CHECKS: [&str; 5] = ["exit-status", "argv-exact", "hostname-option", "no-command", "host-proc-dev"];

fn thirty() -> Result<()> {
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program is in a directory")?;
    let directory = lab::as_owner(beside, || Ok(tempfile::tempdir_in(beside)?))?;
    let canary = directory.path().join("canary");
    fs::create_dir(&canary)?;
    fs::write(canary.join("file"), "alive\n")?;

    let mut submissions: Vec<PathBuf> = Vec::new();
    for number in 0..20 {
        let good = directory.path().join(format!("1-good{number}"));
        fs::hard_link(&own, &good)?;
        submissions.push(good);
    }
    for (number, (name, script)) in BROKEN.into_iter().enumerate() {
        let broken = directory.path().join(name);
        let script = script.replace("CANARY", &canary.display().to_string());
        fs::write(&broken, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&broken, Permissions::from_mode(0o755))?;
        submissions.insert(2 * number, broken); // among the good ones
    }
    let crate_directory = directory.path().join("builds-not");
    fs::create_dir_all(crate_directory.join("src"))?;
    fs::write(
        crate_directory.join("Cargo.toml"),
        "[package]\nname = \"x\"\nedition = \"2024\"\n[workspace]\n",
    )?;
    fs::write(crate_directory.join("src/main.rs"), "fn main() { nonsense }\n")?;
    submissions.push(crate_directory);
    ensure!(submissions.len() == 30);

    let before = Host::now(&canary)?;
    let csv = directory.path().join("report.csv");
    let html = directory.path().join("report.html");
    let mut report = Command::new(env!("CARGO_BIN_EXE_lab"));
    report.args(["report", "--chapter", "1", "--limit", "3"]).arg("--csv").arg(&csv).arg("--html").arg(&html);
    for check in CHECKS {
        report.args(["--only", check]);
    }
    let output = report.args(&submissions).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    before.still(&canary)?;

    let table = fs::read_to_string(&csv)?;
    let row = |line: &str| -> Option<(String, String)> {
        let name = Path::new(line.split(',').next()?).file_name()?.to_string_lossy().into_owned();
        Some((name, line.to_string()))
    };
    let rows: BTreeMap<_, _> = table.lines().skip(1).filter_map(row).collect();
    ensure!(rows.len() == 30, "{table}");
    for (name, line) in &rows {
        let pass: usize = line.split(',').nth(3).and_then(|cell| cell.parse().ok()).context("no number")?;
        if name.starts_with("1-good") {
            ensure!(pass == CHECKS.len(), "a good one is not green:\n{line}");
        } else {
            ensure!(pass < CHECKS.len(), "a broken one is green:\n{line}");
        }
    }
    ensure!(rows["builds-not"].contains("does not build"), "{}", rows["builds-not"]);
    ensure!(rows["hangs"].contains("took too long"), "{}", rows["hangs"]);
    let page = fs::read_to_string(&html)?;
    ensure!(page.contains("builds-not") && page.contains("</html>"), "the page is not whole");
    Ok(())
}

/// What must stay.
#[derive(Debug, PartialEq)]
struct Host {
    mounts: String,
    hostname: String,
    swappiness: String,
    canary: Vec<(PathBuf, String)>,
}

impl Host {
    fn now(canary: &Path) -> Result<Host> {
        let files = fs::read_dir(canary)?.flatten().map(|entry| entry.path());
        let read = |path: PathBuf| (path.clone(), fs::read_to_string(&path).unwrap_or_default());
        Ok(Host {
            mounts: fs::read_to_string("/proc/self/mountinfo")?,
            hostname: fs::read_to_string("/proc/sys/kernel/hostname")?,
            swappiness: fs::read_to_string("/proc/sys/vm/swappiness")?,
            canary: files.map(read).collect(),
        })
    }

    fn still(&self, canary: &Path) -> Result<()> {
        let now = Host::now(canary)?;
        ensure!(*self == now, "the host was {self:#?}\nand is {now:#?}");
        ensure!(fs::metadata("/dev/null")?.file_type().is_char_device(), "/dev/null is no device");
        ensure!(!fs::exists("/etc/left-by-lab-test")?, "a file is left in /etc");
        let year =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() / 31_556_952 + 1970;
        ensure!(year > 2020, "the clock was set back");
        for entry in fs::read_dir("/proc")?.flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let ours = ["sleep 98765", "sleep 100000", "yes shout", "/canary/fill"];
            ensure!(!ours.iter().any(|one| line.contains(one)), "still running: {line}");
        }
        for top in fs::read_dir("/sys/fs/cgroup")?.flatten() {
            ensure!(!top.path().ends_with("left-by-lab-test"), "a cgroup is left");
            ensure!(!top.path().join("left-by-lab-test").exists(), "a cgroup is left in {:?}", top.path());
        }
        Ok(())
    }
}
