//! Wrong runtimes, each with one defect that real ones have had, to see that the checks find it.
//!
//! The program's own name says which defect, and how many chapters it has: `1-status-lost`. tests/wrong.rs makes a link
//! to itself for each. This is the chapters' own story but for the steps that ask `wrong(...)`; that of chapter 6, which
//! has another terminal, is in six.rs. red.txt says which checks must fail for which defect.

mod six;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ch01_run::errors::{self, NotStarted};
use ch01_run::exec::{environment, exec};
use ch01_run::options::Options;
use ch01_run::signals::{self, HeldSignals, Stopped};
use ch01_run::terminal::Terminal;
use ch01_run::{child, descriptors, id, inherited, messages, mounts, namespaces};
use ch02_cgroups::cgroup::Cgroup;
use ch02_cgroups::hierarchy::{self, Hierarchy};
use ch02_cgroups::limits::Limits;
use ch02_cgroups::lock;
use ch03_pivot_root::{devices, image, rootfs, state};
use ch04_overlay::workspace::Workspace;
use ch04_overlay::{remains, volatile};
use ch05_volumes::spec::{self, Volume};
use ch05_volumes::volumes;
use ch06_init::surroundings::Surroundings;
use clap::{CommandFactory, FromArgMatches, Parser};
use log::LevelFilter;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::{getpgrp, tcgetpgrp};
use simple_logger::SimpleLogger;

#[derive(Parser)]
#[command(arg_required_else_help = false, args_override_self = true)]
enum Cli {
    /// Run a command in a new container
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    limits: Limits,
    #[arg(long)]
    rootfs: Option<PathBuf>,
    #[arg(short = 'v', long = "volume")]
    volumes: Vec<OsString>,
    #[command(flatten)]
    surroundings: Surroundings,
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// The chapter and the defect that the program's name tells, if it tells one.
pub fn name() -> Option<(u32, String)> {
    let path = std::env::args_os().next()?;
    let (chapter, defect) = Path::new(&path).file_name()?.to_str()?.split_once('-')?;
    Some((chapter.parse().ok()?, defect.to_string()))
}

/// Whether this is the runtime with that defect. One check runs it under another name: then it has none.
fn wrong(defect: &str) -> bool {
    name().is_some_and(|(_, name)| name == defect)
}

fn chapter() -> u32 {
    name().map_or(5, |(chapter, _)| chapter)
}

/// The whole of the runtime.
pub fn main() -> ExitCode {
    messages::exit(parse(), |Cli::Run(args)| if chapter() < 6 { run(&args) } else { six::run(&args) })
}

fn parse() -> Result<Cli, clap::Error> {
    if wrong("inner-options") {
        // gocker: the options that follow COMMAND are taken for the runtime's own.
        let mixed = |command: clap::Command| {
            command.mut_arg("command", |argument| argument.trailing_var_arg(false).num_args(1..))
        };
        let matches = Cli::command().mut_subcommand("run", mixed).try_get_matches()?;
        return Cli::from_arg_matches(&matches);
    }
    if wrong("option-once") {
        let strict = |command: clap::Command| command.args_override_self(false);
        return Cli::from_arg_matches(
            &strict(Cli::command()).mut_subcommand("run", strict).try_get_matches()?,
        );
    }
    Cli::try_parse_from(six::words())
}

fn run(args: &Run) -> Result<u8> {
    start_log(args)?;
    namespaces::require_root()?;
    inherited::normalize()?;
    if wrong("size-signal") {
        signals::set_default(Signal::SIGXFSZ)?;
    }
    let id = id::random()?;
    let hostname = match &args.options.hostname {
        Some(name) if wrong("hostname-nothing") => name,
        _ => args.options.hostname_or(&id),
    };

    let volumes = if wrong("bad-volume-ignored") {
        // gocker: a volume that cannot be parsed is left out.
        let good: Vec<_> =
            args.volumes.iter().filter(|one| spec::parse_all(&[(*one).clone()]).is_ok()).cloned().collect();
        spec::parse_all(&good)?
    } else if wrong("target-escapes") {
        unchecked(&args.volumes)?
    } else {
        spec::parse_all(&args.volumes)?
    };
    let state = state::root()?;
    let _held = lock_for_all(&state)?;
    let image = match &args.rootfs {
        _ if chapter() < 3 => Path::new("/").to_path_buf(),
        Some(directory) => image::checked(directory)?,
        None => busybox(&state)?,
    };

    remove_leftovers(&state)?;
    let volumes = if wrong("read-only-ignored") {
        // An option that it does not know; so it leaves the volume out.
        volumes.into_iter().filter(|volume| !volume.read_only).collect()
    } else {
        volumes
    };
    let signals = HeldSignals::hold()?;
    let mut terminal = if wrong("typed-stolen") && !args.options.terminal {
        // All originals: the container has the terminal itself as its stdin.
        Terminal::Apart
    } else {
        Terminal::of_stdin(&args.options)?
    };
    let cgroup = limit(&id, args)?;
    // dockerDemo: one directory for all containers.
    let own = if wrong("fixed-directory") { "mnt" } else { &id };
    let workspace = if chapter() < 4 { None } else { Some(Workspace::create(&state, own)?) };
    let elsewhere = Elsewhere::make(&id, args)?;
    let on_the_host = match &workspace {
        Some(workspace) if wrong("deletes-busy") => mount_on_the_host(workspace, &volumes)?,
        _ => Vec::new(),
    };
    let confine = || inside(args, hostname, &id, &cgroup, &image, workspace.as_ref(), &volumes, &terminal);
    let mut container = child::spawn(namespaces::OWN, confine)?;
    if wrong("stopped-for-ever") && args.options.terminal {
        // The kernel's own way with a job that takes the terminal, which ends only in the foreground.
        while tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
            signals.stop(Stopped::Job, Signal::SIGTTIN)?;
        }
    }
    terminal.lend_to(container.pid(), &signals)?;
    container.start(&signals)?;
    // A stop and `fg` come and go, and nobody thinks of the terminal.
    let mut unknown = Terminal::Apart;
    let shown = if wrong("foreground-lost") && args.options.terminal { &mut unknown } else { &mut terminal };
    let status = container.wait(&signals, shown)?;
    if wrong("kills-reaped") {
        // A deferred kill, just to be sure.
        let _ = kill(container.pid(), Signal::SIGKILL);
    }
    if wrong("ends-late") {
        // A poll in place of a wait.
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    drop(elsewhere);
    if let kills @ 1.. = cgroup.oom_kills()? {
        messages::say(&format!("out of memory: the kernel killed {kills} of the container's processes"));
    }
    if wrong("limit-late") {
        end_late(&id, args)?;
    }
    if wrong("shared-cgroup") {
        for hierarchy in hierarchy::find(&args.limits.controllers())? {
            let _others = alone(&hierarchy)?;
            let _ = fs::remove_dir(hierarchy.root.join("byhand/shared")); // if it is the last one
        }
    }
    let failed = (125..=127).contains(&status);
    if (wrong("oom-leaves-cgroup") && cgroup.oom_kills()? > 0) || (wrong("failed-leaves-cgroup") && failed) {
        std::mem::forget(cgroup);
    } else if wrong("cgroup-leaked") {
        // dockerDemo: os.Exit comes before the deferred removal.
        std::mem::forget(cgroup);
    } else {
        cgroup.remove()?;
    }
    if let Some(workspace) = workspace {
        if wrong("recursive-delete") {
            delete_with_volumes(&workspace, &volumes)?;
        }
        if wrong("deletes-busy") {
            // dockerDemo: that they are unmounted is not looked at.
            for target in on_the_host.iter().rev() {
                let _ = umount2(target, MntFlags::empty());
            }
            let _ = fs::remove_dir_all(workspace.merged()); // as far as it gets
            fs::create_dir_all(workspace.merged())?;
        }
        if wrong("deletes-through-mounts") {
            let _ = fs::remove_dir_all(workspace.merged());
            fs::create_dir_all(workspace.merged())?;
        }
        if wrong("mark-by-path") {
            // As overlayfs has it there; and whoever has a mount or a link on the way loses theirs.
            let _ = fs::remove_file(workspace.work().join("work/incompat/volatile/dirty"));
        }
        workspace.remove()?;
    }
    // gocker: the status of the command gets lost.
    Ok(if wrong("status-lost") { 0 } else { status })
}

#[allow(clippy::too_many_arguments)] // all of the story in one place
fn inside(
    args: &Run,
    hostname: &OsStr,
    id: &str,
    cgroup: &Cgroup,
    image: &Path,
    workspace: Option<&Workspace>,
    volumes: &[Volume],
    terminal: &Terminal,
) -> Result<Infallible> {
    if wrong("outlives-run") {
        // gocker: nobody asked the kernel for this.
        nix::sys::prctl::set_pdeathsig(None)?;
    }
    if wrong("signals-lost") {
        lose_signals()?;
    }
    join(id, cgroup, args)?;
    Elsewhere::join(id, args)?;
    terminal.enter()?;
    // mydocker: the mounts of the new namespace are still shared with the host's.
    if !wrong("not-private") {
        mounts::make_private()?;
    }
    match workspace {
        Some(workspace) if wrong("target-escapes") => {
            volatile::mount(&[image], &workspace.upper(), &workspace.work(), &workspace.merged())?;
            mount_by_joined_paths(volumes, &workspace.merged())?;
        }
        Some(workspace) if wrong("synced") || wrong("volatile-or-nothing") => {
            mount_synced(image, &workspace.merged())?;
            volumes::mount_all(volumes, &workspace.merged(), &ch05_volumes::target::COVERED)?;
        }
        Some(workspace) if wrong("names-are-links") => {
            volatile::mount(&[image], &workspace.upper(), &workspace.work(), &workspace.merged())?;
            mount_by_names(volumes, &workspace.merged())?;
        }
        Some(workspace) => {
            volatile::mount(&[image], &workspace.upper(), &workspace.work(), &workspace.merged())?;
            volumes::mount_all(volumes, &workspace.merged(), &ch05_volumes::target::COVERED)?;
            if wrong("volume-alone") {
                unmount_below(volumes, &workspace.merged())?;
            }
        }
        None if chapter() == 3 && wrong("root-alone") => {
            mounts::mount(image, image, "", MsFlags::MS_BIND, "")?;
        }
        None if chapter() == 3 => rootfs::bind_to_itself(image)?,
        None => {}
    }
    // gocker: what the caller had open stays open.
    if wrong("descriptor-3") {
        // Who counts: 0, 1, 2, 3.
        for fd in 4..1024 {
            let _ = nix::unistd::close(fd);
        }
    } else if !wrong("descriptors-leaked") {
        descriptors::close_others()?;
    }
    if chapter() < 3 {
        mounts::mount_proc()?;
    } else {
        let root = workspace.map_or(image.to_path_buf(), Workspace::merged);
        match rootfs::pivot(&root) {
            // gocker, mydocker: the error is dropped, and the command gets the host's root.
            Err(_) if wrong("pivot-ignored") => {}
            done => done?,
        }
        rootfs::mount_proc()?;
        if wrong("empty-dev") {
            // All originals.
            let _ = fs::create_dir("/dev"); // unless the image has it
            mounts::mount(
                "tmpfs",
                "/dev",
                "tmpfs",
                MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME,
                "mode=755",
            )?;
        } else {
            devices::mount_dev()?;
        }
    }
    if !wrong("no-hostname") {
        namespaces::set_hostname(hostname)?;
    }
    if !args.options.interactive {
        stdin_from_null()?;
    }
    let mut environment = environment(hostname);
    if wrong("environment-leaked") {
        // gocker: what the caller has in its environment comes first.
        let theirs = std::env::vars_os().map(|(name, value)| [name, value].join(OsStr::new("=")));
        environment = theirs.chain(environment).collect();
    }
    let variable = |name: &str| name.to_string() + "=" + &std::env::var(name).unwrap_or_default();
    if wrong("log-variable-leaked") && std::env::var_os("RUST_LOG").is_some() {
        environment.push(variable("RUST_LOG").into());
    }
    let starts = |text: &OsString, with: &str| text.to_string_lossy().starts_with(with);
    if wrong("term-fixed") {
        environment.retain(|one| !starts(one, "TERM="));
        environment.push("TERM=xterm".into());
    }
    if wrong("path-short") {
        environment.retain(|one| !starts(one, "PATH="));
        environment.push("PATH=/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    if wrong("other-names") {
        environment.retain(|one| !starts(one, "HOSTNAME="));
    }
    if wrong("here-first") {
        // mydocker: an empty word in PATH is the working directory.
        environment.retain(|one| !starts(one, "PATH="));
        environment.push("PATH=:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    let command = if wrong("argv-split") {
        // All originals: one string through the pipe, and split at its spaces.
        let line = args.command.join(OsStr::new(" ")).to_string_lossy().into_owned();
        line.split(' ').map(OsString::from).collect()
    } else {
        args.command.clone()
    };
    let Err(error) = exec(&command, &environment);
    if wrong("missing-is-0") && error.downcast_ref() == Some(&NotStarted::NotFound) {
        // gocker: logged, and that is all.
        messages::say(&errors::one_line(&error));
        std::process::exit(0);
    }
    if wrong("link-is-there") && args.command.first().is_some_and(|path| fs::symlink_metadata(path).is_ok()) {
        return Err(error.context(NotStarted::NotExecutable));
    }
    Err(error)
}

/// The image, with what is wrong about it.
fn busybox(state: &Path) -> Result<PathBuf> {
    let images = state.join("images");
    let (path, tar) = (images.join("busybox"), images.join("busybox.tar"));
    let is_new = !path.exists();
    let made = image::busybox(state);
    let by_hand = |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).status();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match made {
        Ok(path) if wrong("tar-owners") && is_new && tar.exists() => {
            // What unpacking is like for who is not root.
            by_hand(&["chown", "-R", "-h", "0:0", &text(&path)])?;
            Ok(path)
        }
        Err(error) if wrong("tar-devices") && format!("{error:#}").contains("it is a device") => {
            fs::create_dir(&path)?;
            by_hand(&["tar", "-C", &text(&path), "-xf", &text(&tar)])?;
            Ok(path)
        }
        made => made,
    }
}

/// Without a handler: what is held until the command is executed, the kernel drops then, for this is a process 1.
fn lose_signals() -> Result<()> {
    let end = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from_iter(end)), None)?;
    end.into_iter().try_for_each(signals::set_default)?;
    // Slow enough to be hit, also where the first start took much longer than the rest.
    thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// All originals: the end of this mount waits until the disk has all that anyone has written. Podman: it cannot be
/// mounted where the kernel wants it to.
fn mount_synced(image: &Path, merged: &Path) -> Result<()> {
    let own = merged.parent().context("no directory")?.display();
    let mut options = format!("lowerdir={},upperdir={own}/upper,workdir={own}/work", image.display());
    if wrong("volatile-or-nothing") {
        options += ",volatile";
    }
    Ok(mounts::mount("overlay", merged, "overlay", MsFlags::empty(), options)?)
}

/// An empty `/dev` has no null to open; then stdin is what a closed file gives.
fn stdin_from_null() -> Result<()> {
    if wrong("empty-dev") {
        let (reader, _) = std::io::pipe()?;
        return Ok(nix::unistd::dup2_stdin(&reader)?);
    }
    descriptors::stdin_from_null()
}

/// The cgroup, with its limits in force.
fn limit(id: &str, args: &Run) -> Result<Cgroup> {
    let limits = &args.limits;
    let mut locks = Vec::new();
    if wrong("locks-for-all") && chapter() < 3 {
        // This book, once: one lock for all that make cgroups, on a directory that everybody can open.
        for hierarchy in hierarchy::find(&limits.controllers())? {
            locks.push(alone(&hierarchy)?);
        }
    }
    if wrong("limit-late") {
        // Made here, and limited once the child is in it.
        for hierarchy in hierarchy::find(&limits.controllers())? {
            lock::for_each_abandoned(&hierarchy.ours(), |left| {
                let _ = fs::remove_dir(left); // not if its processes are still dying
                Ok(())
            })?;
            let group = hierarchy.ours().join(id);
            std::mem::forget(lock::hold(&group, lock::A_MOMENT, || make(&group))?); // ours as long as we live
            hierarchy.version.prepare(&hierarchy.root, &group, &hierarchy.controllers)?;
        }
        return Cgroup::create(id, &Limits::default());
    }
    let made = Cgroup::create(id, limits);
    if wrong("plain-files") && made.is_err() && hierarchy::find(&limits.controllers()).is_err() {
        // gocker: no mount point found, so the path begins in the current directory, and files can be made there.
        fs::create_dir_all(format!("byhand/{id}"))?;
        fs::write(format!("byhand/{id}/memory.limit_in_bytes"), "0")?;
        return Cgroup::create(id, &Limits::default());
    }
    made
}

fn join(id: &str, cgroup: &Cgroup, args: &Run) -> Result<()> {
    let limits = &args.limits;
    let group = |hierarchy: &Hierarchy, name: &str| hierarchy.ours().join(name);
    if wrong("limit-late") {
        // dockerDemo: for a moment the command has no limit.
        for hierarchy in hierarchy::find(&limits.controllers())? {
            let group = group(&hierarchy, id);
            fs::write(group.join(hierarchy.version.join_file()), "0")?;
            set(&hierarchy, limits, &group)?;
        }
    }
    if wrong("mems-from-cpus")
        && let Some(cpus) = &limits.cpuset_cpus
    {
        for hierarchy in hierarchy::find(&["cpuset"])? {
            // gocker: the list of CPUs for the memory nodes, which the kernel refuses, then the join too; all ignored.
            let mems = group(&hierarchy, id).join("cpuset.mems");
            fs::write(&mems, "\n")?;
            let _ = fs::write(&mems, &cpus.text);
        }
        let _ = cgroup.join();
        return Ok(());
    }
    cgroup.join()?;
    if wrong("shared-cgroup") {
        // gocker, dockerDemo: one name for all, and whoever comes last sets the limit.
        for hierarchy in hierarchy::find(&limits.controllers())? {
            let _others = alone(&hierarchy)?;
            let group = group(&hierarchy, "shared");
            make(&group)?;
            hierarchy.version.prepare(&hierarchy.root, &group, &hierarchy.controllers)?;
            set(&hierarchy, limits, &group)?;
            fs::write(group.join(hierarchy.version.join_file()), "0")?;
        }
    }
    Ok(())
}

/// The end of a cgroup that was made by hand.
fn end_late(id: &str, args: &Run) -> Result<()> {
    for hierarchy in hierarchy::find(&args.limits.controllers())? {
        let group = hierarchy.ours().join(id);
        let events = fs::read_to_string(group.join(hierarchy.version.oom_file())).unwrap_or_default();
        if events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0") {
            messages::say("out of memory");
        }
        remove_dying(&group);
        let _ = fs::remove_dir(hierarchy.ours()); // if it is the last one
    }
    Ok(())
}

/// Keeps other runs of this kind away from what all of them use.
fn alone(hierarchy: &Hierarchy) -> Result<File> {
    let root = File::open(&hierarchy.root)?;
    root.lock()?;
    Ok(root)
}

/// A cgroup and the one above it, which another run may be removing.
fn make(group: &Path) -> io::Result<()> {
    let mut made = Ok(());
    for _ in 0..100 {
        made = fs::DirBuilder::new().recursive(true).mode(0o700).create(group);
        if made.is_ok() {
            break;
        }
    }
    made
}

/// Its last process may need a moment to be gone.
fn remove_dying(group: &Path) {
    for _ in 0..1000 {
        remove_groups(group);
        if !group.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// With those that the command made in it.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn set(hierarchy: &Hierarchy, limits: &Limits, group: &Path) -> Result<()> {
    let mut settings = hierarchy.version.settings(limits, group)?;
    settings.retain(|setting| hierarchy.controllers.contains(&setting.controller));
    for setting in settings {
        fs::write(group.join(setting.file), setting.value)?;
    }
    Ok(())
}

/// dockerDemo: the volumes are mounted on the host, below the directory that is deleted at the end; the umount before
/// it has failed, for someone was in there, and nobody looked.
fn delete_with_volumes(workspace: &Workspace, volumes: &[Volume]) -> Result<()> {
    let merged = workspace.merged();
    let mut mounted = Vec::new();
    for volume in volumes.iter().filter(|volume| volume.source.is_dir()) {
        let target = merged.join(volume.target.strip_prefix("/")?);
        if fs::create_dir_all(&target).is_ok() {
            mounts::mount(&volume.source, &target, "", MsFlags::MS_BIND, "")?;
            mounted.push(target);
        }
    }
    let _ = fs::remove_dir_all(&merged); // rm -rf, as far as it gets
    for target in mounted.iter().rev() {
        umount2(target, MntFlags::MNT_DETACH)?;
    }
    fs::create_dir_all(&merged)?;
    for entry in fs::read_dir(&merged)? {
        fs::remove_dir_all(entry?.path())?; // the mount points
    }
    Ok(())
}

/// gocker: SRC:DST as it is.
fn unchecked(specs: &[OsString]) -> Result<Vec<Volume>> {
    let (odd, right): (Vec<_>, Vec<_>) =
        specs.iter().cloned().partition(|spec| spec.to_string_lossy().ends_with("/../c"));
    let mut volumes = spec::parse_all(&right)?;
    for spec in odd {
        let (source, target) = spec.to_str().and_then(|spec| spec.split_once(':')).context("no colon")?;
        volumes.push(Volume { source: source.into(), target: target.into(), read_only: false });
    }
    Ok(volumes)
}

/// gocker: the paths joined as text, so that `..` and links in the image lead out of it.
fn mount_by_joined_paths(volumes: &[Volume], root: &Path) -> Result<()> {
    let joined = |volume: &Volume| root.join(volume.target.strip_prefix("/").unwrap_or(&volume.target));
    // The nearest directory that is there, if a link or `..` is on the way to it.
    let leads_away = |volume: &Volume| {
        let target = joined(volume);
        let nearest = target.ancestors().find_map(|path| Some((path.canonicalize().ok()?, path)));
        volume.target.components().any(|part| part == Component::ParentDir)
            || nearest.is_some_and(|(real, path)| real != path)
    };
    let (away, right): (Vec<_>, Vec<_>) = volumes.iter().cloned().partition(leads_away);
    for volume in &away {
        fs::create_dir_all(joined(volume)).with_context(|| format!("making {}", joined(volume).display()))?;
        fs::create_dir_all(&volume.source)?;
        mounts::mount(&volume.source, joined(volume), "", MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
    }
    volumes::mount_all(&right, root, &ch05_volumes::target::COVERED)
}

/// simple_logger as it comes prints with `eprintln!`, which panics when nobody can read what it prints.
fn start_log(args: &Run) -> Result<()> {
    if wrong("log-panics") {
        let logger = SimpleLogger::new().with_level(LevelFilter::Warn).env();
        return Ok(args.options.log_level.into_iter().fold(logger, SimpleLogger::with_level).init()?);
    }
    messages::start_log(args.options.log_level)
}

/// Not wrong: cgroups in a directory of another name. Only what a killed run left it does not remove.
struct Elsewhere(Vec<PathBuf>);

impl Elsewhere {
    fn make(id: &str, args: &Run) -> Result<Elsewhere> {
        let mut made = Elsewhere(Vec::new());
        if wrong("other-names") {
            for hierarchy in hierarchy::find(&args.limits.controllers())? {
                let _others = alone(&hierarchy)?;
                let group = hierarchy.root.join("elsewhere").join(id);
                made.0.push(group.clone());
                make(&group)?;
                hierarchy.version.prepare(&hierarchy.root, &group, &hierarchy.controllers)?;
                set(&hierarchy, &args.limits, &group)?;
            }
        }
        Ok(made)
    }

    fn join(id: &str, args: &Run) -> Result<()> {
        if wrong("other-names") {
            for hierarchy in hierarchy::find(&args.limits.controllers())? {
                let group = hierarchy.root.join("elsewhere").join(id);
                fs::write(group.join(hierarchy.version.join_file()), "0")?;
            }
        }
        Ok(())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        for group in &self.0 {
            for file in ["memory.oom_control", "memory.events"] {
                let events = fs::read_to_string(group.join(file)).unwrap_or_default();
                if events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0") {
                    messages::say("out of memory");
                }
            }
            remove_dying(group);
            let _ = group.parent().map(fs::remove_dir); // if it is the last one
        }
    }
}

/// dockerDemo: the volumes, where the container's root will be, in the host's own mount table.
fn mount_on_the_host(workspace: &Workspace, volumes: &[Volume]) -> Result<Vec<PathBuf>> {
    let mut mounted = Vec::new();
    for volume in volumes.iter().filter(|volume| volume.source.is_dir()) {
        let target = workspace.merged().join(volume.target.strip_prefix("/")?);
        fs::create_dir_all(&target)?;
        mounts::mount(&volume.source, &target, "", MsFlags::MS_BIND, "")?;
        mounted.push(target);
    }
    Ok(mounted)
}

/// As if the volumes had been bound without MS_REC.
fn unmount_below(volumes: &[Volume], root: &Path) -> Result<()> {
    let table = ch02_cgroups::mountinfo::read()?;
    for volume in volumes {
        let target = root.join(volume.target.strip_prefix("/")?);
        let of_another = |path: &Path| {
            volumes.iter().any(|other| other.target.strip_prefix("/").is_ok_and(|own| root.join(own) == path))
        };
        let below = |path: &Path| path.starts_with(&target) && !of_another(path);
        for mount in table.iter().rev().filter(|mount| below(&mount.target)) {
            umount2(&mount.target, MntFlags::MNT_DETACH)?;
        }
    }
    Ok(())
}

/// This book, once: one lock for all that use the state directory, and everybody can open that one.
fn lock_for_all(state: &Path) -> Result<Option<File>> {
    if !wrong("locks-for-all") || chapter() < 3 {
        return Ok(None);
    }
    state::make_private(state)?;
    let directory = File::open(state)?;
    directory.lock()?;
    Ok(Some(directory))
}

/// This book, once: whatever is a directory in `containers/` and not locked was left by a killed run. Or, nearly as bad,
/// whatever has an id for a name.
fn remove_leftovers(state: &Path) -> Result<()> {
    if !wrong("leftovers-are-all") && !wrong("removed-by-name") {
        return remains::remove_all(state);
    }
    let is_id = |name: &str| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    for entry in fs::read_dir(state.join("containers")).into_iter().flatten().flatten() {
        let wanted = wrong("leftovers-are-all") || entry.file_name().to_str().is_some_and(is_id);
        if wanted
            && entry.file_type()?.is_dir()
            && let Ok(directory) = File::open(entry.path())
            && directory.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path()); // its owner may be removing it too
        }
    }
    Ok(())
}

/// This book, once: a volume is kept away from `/proc` and `/dev` by these names, and in this image they are links.
fn mount_by_names(volumes: &[Volume], root: &Path) -> Result<()> {
    if !["proc", "dev"].iter().any(|name| root.join(name).is_symlink()) {
        return volumes::mount_all(volumes, root, &ch05_volumes::target::COVERED);
    }
    for volume in volumes {
        let target = root.join(volume.target.strip_prefix("/")?);
        fs::create_dir_all(&target)?;
        mounts::mount(&volume.source, target, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
    }
    Ok(())
}
