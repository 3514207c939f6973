//! Who is measured: the floor, the chapters, and other runtimes that this machine has, each doing the same.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::place::Place;
use crate::bench::programs::Programs;
use crate::chapter::Chapter;
use crate::machine::aufs;

/// The chapter whose steps floor.c makes, all of them with `-w`.
pub(crate) const FLOOR: Chapter = Chapter::Volumes;

/// The limit that all have who can have one: `-m 100m`.
const MEMORY: u64 = 100 << 20;

/// The command in every container.
pub(crate) const TRUE: &str = "/bin/true";

/// A command that runs /bin/true in a container and waits for its end.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    /// What it does less, or otherwise, than the others.
    pub(crate) note: &'static str,
    /// Whose program it is, if it is one of ours.
    pub(crate) chapter: Option<Chapter>,
    words: Vec<OsString>,
    /// Where the chapters keep their files.
    state: PathBuf,
    /// The id that some must be given for each run comes after these words.
    id_follows: Option<usize>,
}

impl Contender {
    pub(crate) fn new<S: Into<OsString>>(
        name: &str,
        place: &Place,
        words: impl IntoIterator<Item = S>,
    ) -> Contender {
        let words = words.into_iter().map(Into::into).collect();
        Contender {
            name: name.to_string(),
            note: "",
            chapter: None,
            words,
            state: place.state(),
            id_follows: None,
        }
    }

    fn but(mut self, note: &'static str) -> Contender {
        self.note = note;
        self
    }

    /// Its run number `number`, ready to start.
    pub(crate) fn command(&self, number: usize) -> Command {
        let mut words = self.words.clone();
        if let Some(place) = self.id_follows {
            words.insert(place, format!("bench-{}-{number}", std::process::id()).into());
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("BYHAND_ROOT", &self.state);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The words of the command line.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Tries it once. The error is what it says itself.
    fn tried(self) -> Result<Contender, String> {
        let output = self.command(0).stderr(Stdio::piped()).output();
        match output {
            Err(error) => Err(format!("{}: {error}", self.name)),
            Ok(output) if output.status.success() => Ok(self),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().last().unwrap_or("it said nothing").trim();
                Err(format!("{} could not run ({}): {last}", self.name, output.status))
            }
        }
    }
}

/// A chapter's `run`, with the words before the command. Chapter 1 has no limits.
pub(crate) fn chapter(
    chapter: Chapter,
    name: &str,
    program: &Path,
    place: &Place,
    options: &[&str],
) -> Contender {
    let mut words: Vec<OsString> = vec![program.into(), "run".into()];
    if chapter.includes(Chapter::Cgroups) {
        words.extend(["-m".into(), "100m".into()]);
    }
    if chapter.includes(Chapter::Lifecycle) {
        words.push("--rm".into());
    }
    words.extend(options.iter().map(Into::into));
    if chapter.includes(Chapter::Images) {
        words.push("busybox".into());
    }
    words.push(TRUE.into());
    let contender = Contender { chapter: Some(chapter), ..Contender::new(name, place, words) };
    match chapter {
        Chapter::Run => contender.but("no limit, and on the host's own root"),
        Chapter::Cgroups => contender.but("on the host's own root"),
        Chapter::PivotRoot => contender.but("writes into the image"),
        Chapter::Lifecycle | Chapter::Images => contender.but("a process that keeps it, and a log"),
        Chapter::Network => contender.but("a process that keeps it, a log, and a cable to a bridge"),
        _ => contender,
    }
}

/// The floor, for an image, with options of its own.
pub(crate) fn floor(name: &str, place: &Place, image: &Path, options: &[&OsStr]) -> Contender {
    let mut words: Vec<OsString> = vec![place.floor().into()];
    words.extend(options.iter().map(Into::into));
    words.extend([image.into(), place.floor_state().into(), TRUE.into()]);
    Contender::new(name, place, words)
}

/// All that can run here, the floor first, and why the others cannot.
pub(crate) fn all(place: &Place, programs: &Programs) -> Result<(Vec<Contender>, Vec<String>)> {
    let mut missing = Vec::new();
    let mut tried = vec![
        floor("floor", place, &place.image(), &[]).tried(),
        floor(
            &format!("floor, every step of chapter {}", FLOOR.name()),
            place,
            &place.image(),
            &["-w".as_ref()],
        )
        .tried(),
    ];
    tried.extend(with_a_volume(place, programs)?);
    for one in Chapter::ALL {
        if one == Chapter::Aufs && !aufs::on_this_kernel() {
            missing.push(format!("{}: this kernel has no aufs", one.package()));
            continue;
        }
        match programs.of(one) {
            Some(program) => tried.push(chapter(one, one.package(), program, place, &[]).tried()),
            None => missing.push(format!("{}: not built", one.package())),
        }
    }
    if let Some(program) = programs.of(Chapter::Init) {
        for (option, note) in
            [("-t", "a terminal of its own, and a process that copies"), ("--init", "process 1 is an init")]
        {
            let name = format!("{} {option}", Chapter::Init.package());
            tried.push(chapter(Chapter::Init, &name, program, place, &[option]).but(note).tried());
        }
    }
    if let Some(program) = &programs.dynamic {
        let note = "linked dynamically: cargo build --release";
        let name = format!("{}, dynamic", Chapter::LAST_TYPED.package());
        tried.push(chapter(Chapter::LAST_TYPED, &name, program, place, &[]).but(note).tried());
    }
    for (name, found) in others(place)? {
        match found {
            Some(contender) => tried.push(contender.tried()),
            None => missing.push(format!("{name}: not found in PATH")),
        }
    }
    let mut able = Vec::new();
    for one in tried {
        match one {
            Ok(contender) => able.push(contender),
            Err(reason) => missing.push(reason),
        }
    }
    Ok((able, missing))
}

/// The floor and its chapter once more, with a volume on a directory that the image has not got: it is made in the upper
/// layer, and so there is more to remove.
fn with_a_volume(place: &Place, programs: &Programs) -> Result<Vec<Result<Contender, String>>> {
    let source = place.path("volume");
    fs::create_dir_all(&source).with_context(|| format!("making {}", source.display()))?;
    let named = |name: &str| format!("{name}, a new volume"); // as long as there's place for beside a bar
    let difference = "a volume on a directory that the image hasn't got";
    let of_floor = floor(&named("floor"), place, &place.image(), &["-v".as_ref(), source.as_os_str()]);
    let spec = format!("{}:/volume", source.display());
    let ours = programs
        .of(FLOOR)
        .map(|program| chapter(FLOOR, &named(FLOOR.package()), program, place, &["-v", &spec]));
    Ok([Some(of_floor), ours].into_iter().flatten().map(|one| one.but(difference).tried()).collect())
}

/// The runtimes that others wrote, if they are here.
fn others(place: &Place) -> Result<Vec<(&'static str, Option<Contender>)>> {
    let image = place.image();
    let image = image.as_os_str();
    let mut others = Vec::new();
    for name in ["runc", "crun"] {
        let contender = match in_path(name) {
            None => None,
            Some(program) => {
                let bundle = bundle(place, name, &[TRUE])?;
                let words: [OsString; 4] = [program.into(), "run".into(), "-b".into(), bundle.into()];
                let contender = Contender::new(name, place, words).but("no overlay: writes into the image");
                Some(Contender { id_follows: Some(4), ..contender })
            }
        };
        others.push((name, contender));
    }
    let bubblewrap = in_path("bwrap").map(|program| {
        let words = "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --hostname bench --bind";
        let mut words: Vec<OsString> = words.split(' ').map(Into::into).collect();
        words.insert(0, program.into());
        words.push(image.into());
        words.extend(["/", "--proc", "/proc", "--dev", "/dev", TRUE].map(Into::into));
        Contender::new("bubblewrap", place, words).but("no limit, no overlay: writes into the image")
    });
    others.push(("bubblewrap", bubblewrap));
    let unshare = in_path("unshare").map(|program| {
        let mut root = OsString::from("--root=");
        root.push(image);
        let options = ["--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--mount-proc"];
        let words = std::iter::once(program.into()).chain(options.map(Into::into)).chain([root, TRUE.into()]);
        Contender::new("unshare", place, words).but("no limit, no overlay, no /dev; chroot")
    });
    others.push(("unshare", unshare));
    let script = in_path("script").map(|program| {
        let words = [program.as_os_str(), "-qec".as_ref(), TRUE.as_ref(), "/dev/null".as_ref()];
        Contender::new("script -c", place, words).but("no container: a terminal, and a process that copies")
    });
    others.push(("script -c", script));
    for (name, terminal) in [("podman", ""), ("podman -t", "-t")] {
        let podman = in_path("podman").map(|program| {
            let options = ["run", "--rm", "--cgroups=disabled", "--network=none"];
            let mut words = podman(program, "-mnpf", &place.path("podman"));
            words.extend(
                options.into_iter().chain((!terminal.is_empty()).then_some(terminal)).map(OsString::from),
            );
            words.extend(["--rootfs".into(), image.into(), TRUE.into()]);
            Contender::new(name, place, words).but("no limit, no overlay: writes into the image")
        });
        others.push((name, podman));
    }
    Ok(others)
}

/// The words before the command of a program that leaves mounts, locks and files behind. They stay in namespaces of its own.
pub(crate) fn apart(namespaces: &str) -> Vec<OsString> {
    let script =
        "for place in /run /dev/shm /var/lib; do mount -t tmpfs tmpfs $place || exit; done; exec \"$@\"";
    ["unshare", namespaces, "--mount-proc", "--kill-child", "sh", "-c", script, "sh"].map(Into::into).to_vec()
}

/// The words before a command of Podman's.
pub(crate) fn podman(program: PathBuf, namespaces: &str, store: &Path) -> Vec<OsString> {
    let mut words = apart(namespaces);
    words.extend([program.into(), "--root".into(), store.into()]);
    words.extend(["--cgroup-manager", "cgroupfs", "--events-backend", "file"].map(OsString::from));
    words
}

pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// A bundle for the runtimes that read config.json, with as little in it as the chapters do.
pub(crate) fn bundle(place: &Place, name: &str, command: &[&str]) -> Result<PathBuf> {
    let directory = place.path(&format!("bundle-{name}"));
    fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
    let namespaces: Vec<Value> =
        ["pid", "network", "ipc", "uts", "mount"].iter().map(|kind| json!({ "type": kind })).collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": command,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
        },
        "root": { "path": place.image(), "readonly": false },
        "hostname": "bench",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"] },
        ],
        "linux": { "namespaces": namespaces, "resources": { "memory": { "limit": MEMORY } } },
    });
    let file = directory.join("config.json");
    fs::write(&file, config.to_string()).with_context(|| format!("writing {}", file.display()))?;
    Ok(directory)
}
