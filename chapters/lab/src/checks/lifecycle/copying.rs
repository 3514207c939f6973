//! `cp`: files in and out, and nothing else of the host's.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see::{self, SOON, wait_for};
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "cp-kinds",
        Lifecycle,
        "cp copies files, directories, links, hard links and FIFOs, with modes and times, in and out.",
        kinds,
    ),
    Check::new(
        "cp-owner",
        Lifecycle,
        "What cp copies is root's in a container, and the caller's outside; with -a owners stay.",
        owners,
    ),
    Check::new(
        "cp-target",
        Lifecycle,
        "cp makes of the target what Docker makes of it: a new name, a place in a directory, or an error.",
        targets,
    ),
    Check::new(
        "cp-capabilities",
        Lifecycle,
        "A file's capabilities come along with cp, in and out, and in a tar stream.",
        capabilities,
    ),
    Check::new("cp-stream", Lifecycle, "cp - reads a tar stream, and cp ... - writes one.", streams),
    Check::new(
        "cp-ended",
        Lifecycle,
        "cp copies from and to a container that has ended, and the next start finds it.",
        ended,
    ),
    Check::new(
        "cp-links",
        Lifecycle,
        "Links in the container lead cp to the container's files, never to the host's.",
        links,
    ),
    Check::new(
        "cp-race",
        Lifecycle,
        "Nor do links that the container puts in a directory's place while cp is at it.",
        race,
    ),
    Check::new(
        "cp-volume-race",
        Lifecycle,
        "Nor where cp works on the host, in a directory that the container has as a volume.",
        volume_race,
    ),
];

fn sleeper(lab: &Lab) -> Result<Kept<'_>> {
    lab.kept(["sleep", "1000"]).detach()
}

/// Copies, and it has to say nothing.
fn copies(lab: &Lab, words: &[&str]) -> Result<()> {
    lab.says("cp", words.iter().copied(), "")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// A directory with something of each kind. Returns its path.
fn sample(lab: &Lab) -> Result<std::path::PathBuf> {
    let folder = lab.folder("sample")?;
    fs::create_dir_all(folder.join("sub"))?;
    fs::write(folder.join("file"), "of the host\n")?;
    fs::set_permissions(folder.join("file"), Permissions::from_mode(0o640))?;
    fs::hard_link(folder.join("file"), folder.join("hard"))?;
    symlink("file", folder.join("link"))?;
    symlink("/etc/shadow", folder.join("absolute"))?;
    mkfifo(&folder.join("fifo"), Mode::from_bits_truncate(0o600))?;
    fs::write(folder.join("sub").join("x".repeat(200)), "long name\n")?;
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(folder.join("sub"))?.set_modified(old)?;
    fs::File::options().write(true).open(folder.join("file"))?.set_modified(old)?;
    Ok(folder)
}

/// One line for each thing in a directory: what is to stay the same.
fn told(directory: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let data = path.symlink_metadata().with_context(|| format!("looking at {}", path.display()))?;
        let name = path.strip_prefix(directory)?.display().to_string();
        let content = if data.is_file() { fs::read_to_string(&path)? } else { String::new() };
        let link = fs::read_link(&path).map(|link| link.display().to_string()).unwrap_or_default();
        let time = if data.is_symlink() || name == "fifo" || name.is_empty() { 0 } else { data.mtime() };
        lines.push(format!(
            "{name:?} {:o} {} {time} {link:?} {content:?}",
            data.mode(),
            if data.is_file() { data.nlink() } else { 0 }
        ));
        if data.is_dir() {
            waiting.extend(
                fs::read_dir(&path)?
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        }
    }
    lines.sort();
    Ok(lines)
}

fn kinds(lab: &Lab) -> Result<()> {
    let (one, sample) = (sleeper(lab)?, sample(lab)?);
    let root = one.process()?.file("root");
    copies(lab, &[text(&sample)?, &format!("{}:/new", one.id())])?;
    see::same(one.line(), "cp to :/new, what is there:", told(&sample)?, told(&root.join("new"))?)?;
    let back = lab.path("back");
    copies(lab, &[&format!("{}:/new", one.id()), text(&back)?])?;
    see::same(one.line(), "cp from :/new, what is there:", told(&sample)?, told(&back)?)?;
    let big = lab.path("big");
    fs::write(&big, vec![b'x'; 3_000_000])?;
    copies(lab, &[text(&big)?, &format!("{}:/tmp", one.id())])?;
    see::same(one.line(), "the size of a large file:", 3_000_000, root.join("tmp/big").metadata()?.len())
}

fn owners(lab: &Lab) -> Result<()> {
    let (one, file) = (sleeper(lab)?, lab.path("file"));
    fs::write(&file, "")?;
    chown(&file, Some(1234), Some(5678))?;
    let root = one.process()?.file("root");
    let owner = |path: &Path| -> Result<(u32, u32)> {
        let data = path.metadata().with_context(|| format!("looking at {}", path.display()))?;
        Ok((data.uid(), data.gid()))
    };
    copies(lab, &[text(&file)?, &format!("{}:/plain", one.id())])?;
    see::same(one.line(), "the owner after cp:", (0, 0), owner(&root.join("plain"))?)?;
    copies(lab, &["-a", text(&file)?, &format!("{}:/same", one.id())])?;
    see::same(one.line(), "the owner after cp -a:", (1234, 5678), owner(&root.join("same"))?)?;
    let (plain, same) = (lab.path("plain"), lab.path("same"));
    copies(lab, &[&format!("{}:/same", one.id()), text(&plain)?])?;
    see::same(one.line(), "the owner after cp to the host:", (0, 0), owner(&plain)?)?;
    copies(lab, &["-a", &format!("{}:/same", one.id()), text(&same)?])?;
    see::same(one.line(), "the owner after cp -a to the host:", (1234, 5678), owner(&same)?)
}

fn targets(lab: &Lab) -> Result<()> {
    let (one, sample) = (sleeper(lab)?, sample(lab)?);
    let root = one.process()?.file("root");
    let (directory, file) = (text(&sample)?, format!("{}/file", sample.display()));
    let to = |path: &str| format!("{}:{path}", one.id());
    let there = |path: &str| root.join(path).symlink_metadata().is_ok();
    let expect = |words: [&str; 2], path: &str| -> Result<()> {
        copies(lab, &words)?;
        see::same(
            format!("cp {} {}", words[0], words[1]),
            &format!("a file {path} in the container:"),
            true,
            there(path),
        )
    };
    expect([&file, &to("/tmp")], "tmp/file")?;
    expect([&file, &to("/tmp/other")], "tmp/other")?;
    expect([&file, &to("tmp/relative")], "tmp/relative")?;
    expect([&file, &to("/tmp/other")], "tmp/other")?; // again
    expect([directory, &to("/tmp")], "tmp/sample/sub")?;
    expect([directory, &to("/tmp/made")], "tmp/made/sub")?;
    expect([&format!("{directory}/."), &to("/root")], "root/sub")?;
    for (from, path) in [
        (file.as_str(), "/nowhere/"),
        (&file, "/nowhere/file"),
        (directory, "/tmp/other"),
        ("/no/such/file", "/tmp"),
    ] {
        let outcome = lab.call("cp", [from, &to(path)]).finish()?;
        outcome.refuses(&[1])?;
    }
    lab.refuses("cp", [&to("/no/such/file"), "/tmp"], "/no/such/file")?;
    lab.refuses("cp", [&file, "nobody:/tmp"], "nobody")?;
    lab.call("cp", [file.as_str(), directory]).finish()?.refuses(&[1])?;
    lab.call("cp", [to("/tmp"), to("/root")]).finish()?.refuses(&[1]).map(drop)
}

/// An extended attribute, as the kernel has it.
pub(crate) fn attribute(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let (path, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    let mut value = vec![0; 1024];
    // SAFETY: the kernel reads two strings that end with 0, and writes no more than the buffer's length.
    let length =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(length).unwrap_or_default());
    Ok((length >= 0).then_some(value))
}

/// Gives a file an extended attribute.
fn set_attribute(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    let (file, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    // SAFETY: the kernel reads two strings that end with 0, and a value of this length.
    let set = unsafe { libc::lsetxattr(file.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(set).with_context(|| format!("giving {} an attribute", path.display())).map(drop)
}

fn capabilities(lab: &Lab) -> Result<()> {
    const NAME: &str = "security.capability";
    // Version 2, permitted and effective, see capabilities(7). The first is cap_net_bind_service; the second cap_dac_override
    // and cap_fowner, whose byte is that of a newline.
    let stream = lab.path("tar");
    for permitted in [[0, 4], [10, 0]] {
        let mut value = vec![0; 20];
        value[..6].copy_from_slice(&[1, 0, 0, 2, permitted[0], permitted[1]]);
        let one = sleeper(lab)?;
        let (file, root) = (lab.path("able"), one.process()?.file("root"));
        fs::write(&file, "x")?;
        set_attribute(&file, NAME, &value)?;
        let has = |did: &str, path: &Path| {
            see::same(
                did,
                &format!("{NAME} of {}:", path.display()),
                Some(value.clone()),
                attribute(path, NAME)?,
            )
        };
        for option in [None, Some("-a")] {
            let inside = format!("{}:/able", one.id());
            let words: Vec<_> = option.into_iter().chain([text(&file)?, &inside]).collect();
            copies(lab, &words)?;
            has("cp to :/able", &root.join("able"))?;
            let back = lab.path("back");
            let words: Vec<_> = option.into_iter().chain([inside.as_str(), text(&back)?]).collect();
            copies(lab, &words)?;
            has("cp from :/able", &back)?;
        }
        let outcome = lab.call("cp", [&format!("{}:/able", one.id()), "-"]).finish()?;
        outcome.succeeds()?;
        let folder = lab.folder("unpacked")?;
        fs::write(&stream, &outcome.stdout)?;
        let tar = ["-C", text(&folder)?, "-x", "--xattrs", "--xattrs-include=*", "-f", text(&stream)?];
        let tar = Command::new("tar").args(tar).status().context("tar")?;
        see::same(&outcome.line, "tar -x to take it:", true, tar.success())?;
        has(&outcome.line, &folder.join("able"))?;
    }
    // A stream of somebody else's.
    let (one, value) = (sleeper(lab)?, attribute(&lab.path("back"), NAME)?.unwrap_or_default());
    let value: Vec<_> = value.iter().map(|byte| if *byte == 10 { 8 } else { *byte }).collect();
    set_attribute(&lab.path("able"), NAME, &value)?;
    let here = lab.path("");
    let tar = ["-C", text(&here)?, "-c", "--xattrs", "--xattrs-include=*", "able"];
    let tar = Command::new("tar").args(tar).output().context("tar")?;
    lab.call("cp", ["-", &format!("{}:/tmp", one.id())]).input(tar.stdout).finish()?.succeeds()?;
    let seen = attribute(&one.process()?.file("root/tmp/able"), NAME)?;
    see::same("cp - of a stream of GNU tar", &format!("{NAME}:"), Some(value), seen)
}

fn streams(lab: &Lab) -> Result<()> {
    let (one, sample) = (sleeper(lab)?, sample(lab)?);
    let tar =
        Command::new("tar").args(["-C", text(&lab.path(""))?, "-c", "sample"]).output().context("tar")?;
    let outcome = lab.call("cp", ["-", &format!("{}:/tmp", one.id())]).input(tar.stdout).finish()?;
    outcome.succeeds()?;
    let unpacked = one.process()?.file("root/tmp/sample");
    see::same(&outcome.line, "what is there:", told(&sample)?, told(&unpacked)?)?;
    let outcome = lab.call("cp", [&format!("{}:/tmp/sample", one.id()), "-"]).finish()?;
    outcome.exits(0)?;
    let folder = lab.folder("unpacked")?;
    fs::write(lab.path("tar"), &outcome.stdout)?;
    let mut tar = Command::new("tar");
    tar.args(["-C", text(&folder)?, "-x", "-p", "-f", text(&lab.path("tar"))?]).stderr(Stdio::null());
    see::same(&outcome.line, "tar -x to take it:", true, tar.status()?.success())?;
    see::same(&outcome.line, "what tar -x makes of it:", told(&sample)?, told(&folder.join("sample"))?)?;
    let outcome = lab.call("cp", ["-", &format!("{}:/nowhere", one.id())]).input("").finish()?;
    outcome.refuses(&[1]).map(drop)
}

fn ended(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sh", "-c", "cat /in; echo written > /out"]).detach()?;
    one.exits(0)?;
    let (from, to) = (lab.path("in"), lab.path("out"));
    fs::write(&from, "brought\n")?;
    copies(lab, &[text(&from)?, &format!("{}:/in", one.id())])?;
    copies(lab, &[&format!("{}:/out", one.id()), text(&to)?])?;
    see::same(
        one.line(),
        "what the container had written:",
        "written\n".to_string(),
        fs::read_to_string(&to)?,
    )?;
    let elsewhere = lab.folder("elsewhere")?; // a path begins where its user is
    lab.call("cp", [&format!("{}:/out", one.id()), "relative"]).inside(&elsewhere).finish()?.succeeds()?;
    let text = fs::read_to_string(elsewhere.join("relative")).unwrap_or_default();
    see::same(one.line(), "what cp brought to a relative path:", "written\n".to_string(), text)?;
    lab.says("start", [one.id()], &format!("{}\n", one.id()))?;
    one.exits(0)?;
    one.wrote("brought\n")
}

fn links(lab: &Lab) -> Result<()> {
    let decoy = lab.folder("decoy")?;
    fs::write(decoy.join("secret"), "of the host\n")?;
    let script = format!(
        "mkdir -p {0}; echo inside > {0}/secret; ln -s {0} /to-dir; ln -s {0}/secret /to-file; ln -s ../../../../../..{0} /up; exec sleep 1000",
        decoy.display()
    );
    let one = lab.kept(["sh", "-c", &script]).detach()?;
    let root = one.process()?.file("root");
    wait_for(SOON, || Ok(root.join("up").symlink_metadata().ok()))?;
    let file = lab.path("file");
    fs::write(&file, "new\n")?;
    for path in ["/to-dir", "/up", "/to-file", "/to-dir/other"] {
        copies(lab, &[text(&file)?, &format!("{}:{path}", one.id())])?;
        let names: Vec<_> = fs::read_dir(&decoy)?.flatten().map(|entry| entry.file_name()).collect();
        see::same(
            format!("cp FILE {}:{path}", one.id()),
            "what the host's directory has:",
            vec!["secret".into()],
            names,
        )?;
    }
    let secret = fs::read_to_string(decoy.join("secret"))?;
    see::same(one.line(), "the host's file:", "of the host\n".to_string(), secret)?;
    let back = lab.path("back");
    for path in ["/to-dir/secret", "/up/secret"] {
        copies(lab, &[&format!("{}:{path}", one.id()), text(&back)?])?;
        see::same(one.line(), "what came out:", "new\n".to_string(), fs::read_to_string(&back)?)?;
    }
    Ok(())
}

/// A script that swaps `/SWAPPED/d`, a directory, and a link to this one, as fast as it can.
fn swapping(place: &str, decoy: &Path) -> String {
    format!(
        "cd {place}; mkdir -p d; ln -s {} l; echo > begun; while :; do mv d x; mv l d; mv d l; mv x d; done 2> /dev/null",
        decoy.display()
    )
}

/// A directory of the host's that nothing may come into, nor its file out of.
fn decoy(lab: &Lab) -> Result<std::path::PathBuf> {
    let decoy = lab.folder("decoy")?;
    fs::write(decoy.join("secret"), "of the host\n")?;
    Ok(decoy)
}

fn ensure_untouched(did: &str, decoy: &Path) -> Result<()> {
    let names: Vec<_> = fs::read_dir(decoy)?.flatten().map(|entry| entry.file_name()).collect();
    see::same(did, "what the host's directory has:", vec!["secret".into()], names)
}

fn race(lab: &Lab) -> Result<()> {
    let decoy = decoy(lab)?;
    let one = lab.kept(["sh", "-c", &format!("mkdir /race; {}", swapping("/race", &decoy))]).detach()?;
    let root = one.process()?.file("root");
    wait_for(SOON, || Ok(root.join("race/begun").symlink_metadata().ok()))?;
    let file = lab.path("file");
    fs::write(&file, "new\n")?;
    let folder = lab.folder("out")?;
    for _ in 0..40 {
        // They may fail: the container spoils them. They may not go astray.
        lab.call("cp", [text(&file)?, &format!("{}:/race/d/new", one.id())]).finish()?;
        lab.call("cp", [&format!("{}:/race/d/secret", one.id()), text(&folder)?]).finish()?;
        ensure_untouched(one.line(), &decoy)?;
        see::same(
            one.line(),
            "a file of the host's that came along:",
            false,
            folder.join("secret").exists(),
        )?;
    }
    Ok(())
}

fn volume_race(lab: &Lab) -> Result<()> {
    let decoy = decoy(lab)?;
    let shared = lab.folder("shared")?;
    let volume = format!("{}:/shared", shared.display());
    let one = lab.kept(["sh", "-c", &swapping("/shared", &decoy)]).with(["-v", &volume]).detach()?;
    wait_for(SOON, || Ok(shared.join("begun").symlink_metadata().ok()))?;
    let made = lab.folder("made")?;
    fs::create_dir_all(made.join("d"))?;
    fs::write(made.join("d/new"), "new\n")?;
    copies(lab, &[text(&made)?, &format!("{}:/", one.id())])?;
    let root = one.process()?.file("root");
    for round in 0..40 {
        lab.call("cp", [&format!("{}:/made/.", one.id()), text(&shared)?]).finish()?;
        ensure_untouched(one.line(), &decoy)?;
        lab.call("cp", [text(&shared)?, &format!("{}:/got{round}", one.id())]).finish()?;
        let got = root.join(format!("got{round}/d"));
        let came = !got.is_symlink() && got.join("secret").symlink_metadata().is_ok();
        see::same(one.line(), "a file of the host's that came along:", false, came)?;
    }
    Ok(())
}
