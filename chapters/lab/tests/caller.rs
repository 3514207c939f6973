//! Who called: nothing that the lab writes for somebody is root's, and whoever cannot become root is told so, once.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// Nobody's number, and nobody's group's.
const THEM: u32 = 61_234;

/// A directory that is theirs.
fn theirs() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    give(directory.path());
    directory
}

fn give(path: &Path) {
    chown(path, Some(THEM), Some(THEM)).unwrap();
}

fn owner(path: &Path) -> (u32, u32) {
    let data = fs::metadata(path).unwrap();
    (data.uid(), data.gid())
}

/// Written by another process: what we had open for writing, the child of another test might have open still, and then
/// nobody can execute it.
fn script(path: &Path, text: &str) {
    let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    assert!(Command::new("sh").args(["-c", write]).arg(path).arg(text).status().unwrap().success());
}

fn report(csv: &Path, html: &Path, by_sudo: bool) -> Output {
    let mut report = Command::new(LAB);
    report.args(["report", "--chapter", "1", "--only", "no-command", "/bin/false", "--csv"]).arg(csv);
    report.arg("--html").arg(html).env_remove("SUDO_UID").env_remove("SUDO_GID");
    if by_sudo {
        report.env("SUDO_UID", THEM.to_string()).env("SUDO_GID", THEM.to_string());
    }
    report.output().unwrap()
}

#[test]
fn a_report_is_the_caller_s_or_the_directory_s_owner_s() {
    for by_sudo in [true, false] {
        let directory = theirs();
        let (csv, html) = (directory.path().join("report.csv"), directory.path().join("report.html"));
        let done = report(&csv, &html, by_sudo);
        assert!(done.status.success(), "{done:?}");
        assert_eq!((owner(&csv), owner(&html)), ((THEM, THEM), (THEM, THEM)), "by sudo: {by_sudo}");
    }
    let root_s = tempfile::tempdir().unwrap();
    let (csv, html) = (root_s.path().join("report.csv"), root_s.path().join("report.html"));
    let done = report(&csv, &html, false);
    assert!(done.status.success() && owner(&csv) == (0, 0), "{done:?}");
    // Only where the caller may, too.
    let done = report(&root_s.path().join("other.csv"), &html, true);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(2) && said.contains("Permission denied"), "{done:?}");
    assert!(!root_s.path().join("other.csv").exists());
}

/// With a sudo that changes nothing, so that what is tried is only what as-root makes of it.
#[test]
fn a_path_may_have_an_equals_sign() {
    let directory = theirs();
    let (bin, odd) = (directory.path().join("bin"), directory.path().join("a=b"));
    for one in [&bin, &odd] {
        fs::create_dir(one).unwrap();
    }
    script(&bin.join("sudo"), "#!/bin/sh\n[ \"$1\" = -- ] && shift\nexec \"$@\"\n");
    script(&odd.join("program"), "#!/bin/sh\nprintf '<%s>' \"$RUST_LOG\" \"$@\"\nexit 7\n");
    let as_root = directory.path().join("as-root");
    script(&as_root, include_str!("../../../.cargo/as-root"));
    let mut command = Command::new(as_root);
    command.arg(odd.join("program")).args(["a=b", "", "c d", "$x"]).uid(THEM).gid(THEM);
    command.env("RUST_LOG", "x y='$z'").env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!((done.status.code(), &*said), (Some(7), "<x y='$z'><a=b><><c d><$x>"), "{done:?}");
}

/// The lab where anybody may execute it.
fn copy_of_lab(directory: &Path) -> PathBuf {
    let lab = directory.join("lab");
    assert!(Command::new("cp").arg(LAB).arg(&lab).status().unwrap().success()); // as in `script`
    lab
}

#[test]
fn the_doctor_tells_once_that_there_is_no_root() {
    // With sudo and without it, and a sudo that refuses.
    for sudo in [None, Some("exit 1")] {
        let directory = theirs();
        let lab = copy_of_lab(directory.path());
        if let Some(sudo) = sudo {
            script(&directory.path().join("sudo"), &format!("#!/bin/sh\n{sudo}\n"));
        }
        for program in ["id", "modprobe"] {
            script(&directory.path().join(program), "#!/bin/sh\necho 61234\n");
        }
        let as_root = directory.path().join("as-root");
        script(&as_root, include_str!("../../../.cargo/as-root"));
        let mut command = Command::new(as_root);
        command.arg(lab).arg("doctor").uid(THEM).gid(THEM).env("PATH", directory.path());
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        assert!(said.contains("neither root nor sudo") && said.contains("no: root"), "{said}");
        let causes =
            said.lines().filter(|line| line.contains("inside a container") || line.contains("EPERM"));
        assert_eq!(causes.count(), 0, "{said}");
    }
}

/// Root without the rights, as in most containers.
#[test]
fn the_doctor_advises_once() {
    let done =
        Command::new("setpriv").args(["--bounding-set", "-sys_admin", LAB, "doctor"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(said.matches("cannot make a new one").count(), 5, "{said}");
    assert_eq!(said.matches("inside a container?").count(), 1, "{said}");
}

#[test]
fn a_build_shows_what_cargo_tells() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("src")).unwrap();
    if let Some(caller) = std::env::var("SUDO_UID").ok().and_then(|number| number.parse().ok()) {
        chown(directory.path(), Some(caller), None).unwrap(); // who is the one that builds
    }
    fs::write(
        directory.path().join("Cargo.toml"),
        "[package]\nname = \"x\"\nedition = \"2024\"\n[workspace]\n",
    )
    .unwrap();
    // Long enough to be worth showing.
    let slow = "fn main() { std::thread::sleep(std::time::Duration::from_secs(3)) }\n";
    fs::write(directory.path().join("build.rs"), slow).unwrap();
    for (text, says, status) in [
        ("fn main() {}\n", "x(build)", Some(1)),
        ("fn main() { nonsense }\n", "cannot find value `nonsense`", Some(2)),
    ] {
        fs::write(directory.path().join("src/main.rs"), text).unwrap();
        let mut check = Command::new(LAB);
        check.args(["check", "1", "exit-status", "--runtime"]).arg(directory.path());
        let done = check.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(said.contains(says) && done.status.code() == status, "{done:?}");
    }
}

/// Where a check's host has files of its own, or none that can be executed.
#[test]
fn a_runtime_that_no_check_can_reach_is_no_red_one() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let plain = tempfile::tempdir().unwrap();
    let (covered, no_program) = (directory.path().join("runtime"), plain.path().join("runtime"));
    script(&covered, "#!/bin/sh\n");
    fs::write(&no_program, "#!/bin/sh\n").unwrap();
    for (runtime, reason) in [(&covered, "No such file"), (&no_program, "Permission denied")] {
        let mut check = Command::new(LAB);
        check.args(["check", "1", "exit-status", "--runtime"]).arg(runtime);
        let done = check.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(said.contains("cannot be executed there") && said.contains(reason), "{said}");
    }
}
