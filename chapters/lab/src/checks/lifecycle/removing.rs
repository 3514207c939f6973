//! `rm`, and what stays then: nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::mount::MsFlags;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::hierarchy;
use crate::machine::mounts::tmpfs;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "rm-running",
        Lifecycle,
        "rm refuses one that runs, with 1, and it runs on; rm -f kills it first.",
        running,
    ),
    Check::new(
        "rm-several",
        Lifecycle,
        "rm removes each that it can, prints those, and ends with 1 if there was another.",
        several,
    ),
    Check::new(
        "rm-leaves-nothing",
        Lifecycle,
        "After rm the state directory, mounts and cgroups are as before the run; a volume's data stays.",
        nothing,
    ),
    Check::new(
        "rm-deep",
        Lifecycle,
        "rm removes what a container wrote, however deep, odd or protected, and follows no link out.",
        deep,
    ),
];

fn running(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["--name", "one"]).detach()?;
    let process = one.process()?;
    lab.refuses("rm", ["one"], "running")?;
    see::same("rm one", "the State in ps -a:", "running".to_string(), one.state()?)?;
    see::same("rm one", "process 1 to live:", true, process.lives())?;
    lab.says("rm", ["-f", "one"], "one\n")?;
    see::same("rm -f one", "process 1 to live:", false, process.lives())?;
    see::same("rm -f one", "what is left:", Vec::new(), lab.containers())
}

fn several(lab: &Lab) -> Result<()> {
    let one = lab.kept(["true"]).detach()?;
    let two = lab.kept(["sleep", "1000"]).detach()?;
    let three = lab.kept(["true"]).detach()?;
    one.exits(0)?;
    three.exits(0)?;
    let some = lab.call("rm", [one.id(), two.id(), "nobody", three.id()]).finish()?;
    some.exits(1)?.mentions("nobody")?.mentions("running")?.prints(format!(
        "{}\n{}\n",
        one.id(),
        three.id()
    ))?;
    lab.says("ps", ["-aq"], &format!("{}\n", two.id()))
}

/// All paths below a directory.
fn paths(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(paths(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

fn nothing(lab: &Lab) -> Result<()> {
    // A mount of somebody's, whose path is no text.
    let odd = lab.folder("mounts")?.join(OsStr::from_bytes(b"\xe9"));
    fs::create_dir(&odd)?;
    tmpfs(&odd, MsFlags::empty(), "size=1m")?;
    lab.arranged()?;
    let data = lab.folder("data")?;
    let limited = hierarchy::of("memory")?.is_some();
    let all = |name: &str| {
        let limit: &[&str] = if limited { &["-m", "100m"] } else { &[] };
        let volume = format!("{}:/data", data.display());
        let run =
            lab.kept(["sh", "-c", "echo x > /file; mkdir -p /a/b/c; echo y > /data/kept; exec sleep 1000"]);
        run.with(limit).with(["-v", &volume, "--name", name, "--tmpfs", "/deep/tmp"])
    };
    all("first").detach()?.remove()?; // which makes what stays: the image
    let before = paths(&lab.state());
    let one = all("one").detach()?;
    let process = one.process()?;
    let cgroups = hierarchy::of_container(process)?;
    lab.host_unchanged("run -d")?; // while it runs, too
    lab.says("stop", ["-t", "0", "one"], "one\n")?;
    lab.host_unchanged("stop")?;
    hierarchy::all_gone("stop", &cgroups)?;
    lab.says("start", ["one"], "one\n")?;
    let cgroups = hierarchy::of_container(one.process()?)?;
    lab.says("rm", ["-f", "one"], "one\n")?;
    hierarchy::all_gone("rm -f", &cgroups)?;
    lab.host_unchanged("rm -f")?;
    see::same("rm -f", "the paths of the state directory to be", before, paths(&lab.state()))?;
    see::same("rm -f", "the file in the volume", "y\n".to_string(), fs::read_to_string(data.join("kept"))?)
}

fn deep(lab: &Lab) -> Result<()> {
    let outside = lab.folder("outside")?;
    fs::write(outside.join("file"), "of the host")?;
    let script = format!(
        "cd /tmp; n=0; while [ $n -lt 100 ]; do mkdir 0123456789012345678901234567890123456789; cd 0123456789012345678901234567890123456789; n=$((n+1)); done; \
         cd /; ln -s {0} /out; ln -s {0} /tmp/out; mkdir /shut /usr/shut; touch /shut/file; chmod 0 /shut /usr/shut; \
         mkfifo /fifo; mknod /device c 1 3; rm -rf /var /root; mkdir /root; touch \"/$(printf 'a\\nb\\377')\"; mkdir /merged /upper /work",
        outside.display()
    );
    let one = lab.kept(["sh", "-c", &script]).detach()?;
    one.exits(0)?;
    lab.says("rm", [one.id()], &format!("{}\n", one.id()))?;
    see::same("rm", "what is left:", Vec::new(), lab.containers())?;
    see::same("rm", "the host's file", "of the host".to_string(), fs::read_to_string(outside.join("file"))?)
}
