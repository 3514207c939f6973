//! The runtime under test: how checks start it.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, setrlimit};

use crate::chapter::Chapter;
use crate::machine::aufs;
use crate::machine::host::{self, HostState};
use crate::machine::mounts::Mount;
use crate::machine::process::{Mark, Process, begin_session};
use crate::see::{self, SOON, quoted, shown};
use crate::trial::outcome::Outcome;
use crate::trial::running::Running;

/// No file that a run writes may be longer, its output included: a command that never stops writing ends so.
const LONGEST_FILE: u64 = 64 * 1024 * 1024;

/// What holds for all runs of a check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// No run takes longer; one that does is killed and has failed. In seconds.
    pub(crate) longest: u64,
    /// Hears the shell line of each run before it starts.
    pub(crate) told: fn(&str),
}

/// A runtime, a directory, and a host of its own: what one check works with.
#[derive(Debug)]
pub struct Lab {
    chapter: Chapter,
    program: PathBuf,
    directory: PathBuf,
    terms: Terms,
    mark: Mark,
    /// What the host must look like after each run.
    before: RefCell<HostState>,
    /// How many runs there were; numbers the files that take their output.
    runs: Cell<u32>,
    /// Whether the check killed a runtime, which then could not clean up.
    killed: Cell<bool>,
}

/// Gives `work` a lab, looks afterwards whether the runtime left anything behind, and cleans up. Tells what it
/// cleaned up, too: after a failure, that is anything.
pub(crate) fn with_lab(
    chapter: Chapter,
    program: &Path,
    terms: Terms,
    work: impl FnOnce(&Lab) -> Result<()> + Send,
) -> (Result<()>, Vec<String>) {
    let mut left = Vec::new();
    (try_with_lab(chapter, program, terms, work, &mut left), left)
}

fn try_with_lab(
    chapter: Chapter,
    program: &Path,
    terms: Terms,
    work: impl FnOnce(&Lab) -> Result<()> + Send,
    left: &mut Vec<String>,
) -> Result<()> {
    let program = program.canonicalize().with_context(|| format!("no runtime at {}", program.display()))?;
    // The directory goes away out here, where no mount of the check's host is in the way: what is
    // mounted in there, the host's own files perhaps, is never reached.
    let directory = tempfile::Builder::new()
        .prefix(host::DIRECTORY_PREFIX)
        .permissions(fs::Permissions::from_mode(0o755)) // a check runs the runtime as nobody
        .tempdir()
        .context("making a temporary directory")?;
    let mark = Mark::new();
    let result = host::of_its_own(|| {
        let before = RefCell::new(HostState::now()?);
        let directory = directory.path().canonicalize()?;
        let (runs, killed) = (Cell::new(0), Cell::new(false));
        let lab = Lab { chapter, program, directory, terms, mark, before, runs, killed };
        let result = work(&lab).and_then(|()| lab.nothing_is_left());
        *left = lab.left();
        result
    });
    mark.end();
    result
}

impl Lab {
    /// Whether the runtime has come as far as `chapter`.
    pub(crate) fn has(&self, chapter: Chapter) -> bool {
        self.chapter.includes(chapter)
    }

    pub(crate) fn chapter(&self) -> Chapter {
        self.chapter
    }

    /// The runtime's own path.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The runtime's state directory, `$BYHAND_ROOT`. It does not exist before the first run.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// A path for the check's own files. Nothing is there yet.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A new directory for the check's own files.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// `RUNTIME run ARGUMENTS...`, of whose container nothing stays: that was so before chapter 7, and since then one has
    /// to ask for it.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run<'_> {
        let not_kept = self.has(Chapter::Lifecycle).then_some("--rm");
        self.kept(arguments).with(not_kept)
    }

    /// The same, from chapter 7 on, with nothing asked: then the container is kept. The check has to remove it.
    pub(crate) fn kept<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run<'_> {
        self.call("run", arguments)
    }

    /// A line for a shell as this chapter has it. Runs begin as `"$RUN" run`, and of their containers nothing stays either;
    /// and the place of the image is `$IMAGE`, which is nothing where a run has none yet.
    pub(crate) fn spelled(&self, line: &str) -> String {
        let not_kept = if self.has(Chapter::Lifecycle) { "\"$RUN\" run --rm" } else { "\"$RUN\" run" };
        let image = if self.has(Chapter::Images) { "busybox " } else { "" };
        line.replace("\"$RUN\" run", not_kept).replace("$IMAGE ", image)
    }

    /// `RUNTIME VERB ARGUMENTS...`
    pub(crate) fn call<S: AsRef<OsStr>>(
        &self,
        verb: &'static str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Run<'_> {
        Run {
            lab: self,
            program: self.program.clone(),
            state: self.state(),
            wrapper: Vec::new(),
            verb,
            options: Vec::new(),
            image: None,
            arguments: arguments.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            input: None,
            terminal: None,
            directory: None,
            variables: Vec::new(),
            user: None,
            preparations: Vec::new(),
        }
    }

    /// `RUNTIME run sh -c SCRIPT`
    pub(crate) fn sh(&self, script: &str) -> Run<'_> {
        self.run(["sh", "-c", script])
    }

    /// Has the runtime make its busybox image, and returns its directory on the host.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        self.run(["true"]).finish()?.succeeds()?;
        Ok(self.image_in(&self.state()))
    }

    /// The directory of the busybox image in a state directory, whether it is there or not. From chapter 8 on that is its
    /// one layer, unpacked.
    pub(crate) fn image_in(&self, state: &Path) -> PathBuf {
        if !self.has(Chapter::Images) {
            return state.join("images/busybox");
        }
        let layers = state.join("store/layers");
        let found = fs::read_dir(&layers).into_iter().flatten().flatten().next();
        found.map_or(layers.join("none"), |layer| layer.path())
    }

    /// To be said by checks that kill `run` itself: then the kernel alone cleans up, and the state
    /// directory and an empty cgroup may stay.
    pub(crate) fn runtime_was_killed(&self) {
        self.killed.set(true);
    }

    /// To be said by checks that have arranged mounts on their host: this is how it must stay now.
    pub(crate) fn arranged(&self) -> Result<()> {
        self.before.replace(HostState::now()?);
        Ok(())
    }

    /// Fails if the host's mount table or hostname have changed since the check began.
    pub(crate) fn host_unchanged(&self, did: &str) -> Result<()> {
        self.before.borrow().still(did)
    }

    /// The same while a container runs, or after its run was killed or could not undo everything. With aufs its mount is
    /// the host's, and stays until the next run takes it away; that is all that may be new.
    pub(crate) fn host_unchanged_but_unions(&self, did: &str) -> Result<()> {
        let workspaces = if self.has(Chapter::Aufs) { self.containers() } else { Vec::new() };
        self.before.borrow().still_but(did, &|mount| workspaces.iter().any(|of| is_union(mount, of)))
    }

    /// Fails unless the next run takes away what is left of earlier ones.
    pub(crate) fn next_run_sweeps(&self) -> Result<()> {
        let outcome = self.run(["true"]).finish()?;
        outcome.succeeds()?;
        self.host_unchanged(&outcome.line)?;
        see::same(&outcome.line, "the state directory to hold no container:", Vec::new(), self.containers())
    }

    /// Processes, mounts and directories that are there at this moment and were not before.
    fn left(&self) -> Vec<String> {
        let process = |process: &Process| format!("process {} {}", process.0, process.command());
        let mut left: Vec<_> = self.mark.processes().iter().map(process).collect();
        left.extend(self.before.borrow().new_mounts().into_iter().map(|point| format!("mount on {point}")));
        left.extend(self.containers().iter().map(|path| format!("directory {}", path.display())));
        left
    }

    /// Where the containers are: in chapter 7 each has its workspace in its record.
    pub(crate) fn place_of_containers(&self) -> PathBuf {
        self.state().join(if self.has(Chapter::Lifecycle) { "records" } else { "containers" })
    }

    /// The workspace of a running container.
    pub(crate) fn workspace(&self, run: &mut Running) -> Result<PathBuf> {
        Ok(self.place_of_containers().join(run.id()?))
    }

    /// The workspaces that there are, and the records, with those that are on their way in or out.
    pub(crate) fn containers(&self) -> Vec<PathBuf> {
        self.containers_in(&self.state())
    }

    /// The same in another state directory.
    pub(crate) fn containers_in(&self, state: &Path) -> Vec<PathBuf> {
        let places =
            ["containers", "records", "records/.unfinished"].map(|name| fs::read_dir(state.join(name)));
        let entries = places.into_iter().flatten().flatten().flatten();
        entries.filter(|entry| entry.file_name() != ".unfinished").map(|entry| entry.path()).collect()
    }

    /// What holds after every run that ended by itself.
    fn nothing_is_left(&self) -> Result<()> {
        const DID: &str = "all of this check's runs, to their end";
        let left = self.mark.gone(SOON);
        if !left.is_empty() {
            let left: Vec<_> =
                left.iter().map(|process| format!("{} {}", process.0, process.command())).collect();
            return Err(see::differs(DID, "no process of theirs to stay", format!("{left:?}")));
        }
        if self.killed.get() && self.has(Chapter::Aufs) {
            self.host_unchanged_but_unions(DID)?;
            return self.next_run_sweeps();
        }
        self.host_unchanged(DID)?;
        if self.killed.get() {
            return Ok(());
        }
        see::same(DID, "the state directory to hold no container:", Vec::new(), self.containers())?;
        let names = fs::read_dir(self.state().join("names")).into_iter().flatten().flatten();
        see::same(
            DID,
            "the state directory to hold no name:",
            Vec::new(),
            names.map(|name| name.path()).collect(),
        )
    }
}

/// Whether it is the mount that a container with this workspace has on the host.
fn is_union(mount: &Mount, workspace: &Path) -> bool {
    mount.filesystem == aufs::filesystem() && Path::new(&mount.point) == workspace.join("mnt")
}

/// A run to be, or another command: what to start, and how.
pub(crate) struct Run<'a> {
    pub(super) lab: &'a Lab,
    program: PathBuf,
    state: PathBuf,
    wrapper: Vec<OsString>,
    /// Which of the runtime's commands: `run` in most checks.
    verb: &'static str,
    options: Vec<OsString>,
    /// The image that a check asks for. Without it, a `run` gets busybox, where it needs an image.
    image: Option<OsString>,
    pub(super) arguments: Vec<OsString>,
    input: Option<Vec<u8>>,
    terminal: Option<OwnedFd>,
    directory: Option<PathBuf>,
    variables: Vec<(String, String)>,
    user: Option<u32>,
    preparations: Vec<Preparation>,
}

/// What the child does between fork and exec. It must not allocate memory or take locks.
type Preparation = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

impl Run<'_> {
    /// Options of the runtime, before the command.
    pub(crate) fn with<S: AsRef<OsStr>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.options.extend(options.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Another image than busybox, from chapter 8 on.
    pub(crate) fn of<S: AsRef<OsStr>>(mut self, image: S) -> Self {
        self.image = Some(image.as_ref().to_owned());
        self
    }

    /// Stdin. Default: empty.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// A terminal as stdin, the slave side of a pty, and a session of which it is the terminal.
    pub(crate) fn at_terminal(mut self, slave: OwnedFd) -> Self {
        self.terminal = Some(slave);
        self.prepared(begin_session)
    }

    /// The working directory.
    pub(crate) fn inside(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_path_buf());
        self
    }

    /// An environment variable of the runtime's own.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    /// Another state directory than the lab's.
    pub(crate) fn state(mut self, directory: &Path) -> Self {
        self.state = directory.to_path_buf();
        self
    }

    /// Another path to the runtime.
    pub(crate) fn program(mut self, path: &Path) -> Self {
        self.program = path.to_path_buf();
        self
    }

    /// Another user than root.
    pub(crate) fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// A program that runs the runtime, such as strace.
    pub(crate) fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Something for the child to do between fork and exec: system calls only, no memory, no locks.
    pub(crate) fn prepared(mut self, by: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.preparations.push(Box::new(by));
        self
    }

    /// A shell line that does the same.
    pub(crate) fn line(&self) -> String {
        let mut words = Vec::new();
        if let Some(directory) = &self.directory {
            words.push(format!("cd {} &&", quoted(directory)));
        }
        words.push(format!("BYHAND_ROOT={}", quoted(&self.state)));
        words.extend(self.variables.iter().map(|(name, value)| format!("{name}={}", quoted(value))));
        words.extend(self.words().map(quoted));
        match &self.input {
            Some(bytes) if bytes.len() < 100 => words.push(format!("<<< {}", shown(bytes))),
            Some(bytes) => words.push(format!("< ({} bytes)", bytes.len())),
            None => {}
        }
        words.join(" ")
    }

    /// The word between options and command: from chapter 8 on a run has one, unless its root is a directory. A command
    /// that is none, or that is more options, belongs to a check of bad words, which are as it has them.
    fn image(&self) -> Option<&OsStr> {
        let command = self.arguments.first().is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-"));
        let of_busybox = self.verb == "run" && command && self.lab.has(Chapter::Images);
        let busybox = of_busybox && !self.options.iter().any(|option| option == "--rootfs");
        self.image.as_deref().or(busybox.then_some(OsStr::new("busybox")))
    }

    fn words(&self) -> impl Iterator<Item = &OsStr> {
        let wrapper = self.wrapper.iter().map(OsString::as_os_str);
        let runtime = [self.program.as_os_str(), OsStr::new(self.verb)];
        let options = self.options.iter().map(OsString::as_os_str);
        let command = self.arguments.iter().map(OsString::as_os_str);
        wrapper.chain(runtime).chain(options).chain(self.image()).chain(command)
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Result<Running> {
        let lab = self.lab;
        let line = self.line();
        let number = lab.runs.replace(lab.runs.get() + 1);
        let file = |kind: &str| lab.path(&format!("{number}.{kind}"));

        let mut command = Command::new(self.words().next().unwrap_or_default());
        command.args(self.words().skip(1)).env("BYHAND_ROOT", &self.state);
        command.env_remove("RUST_LOG").envs(self.variables.drain(..));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        // Files and not pipes: a process that outlives the run could keep a pipe open for ever.
        command.stdout(fs::File::create(file("stdout"))?).stderr(fs::File::create(file("stderr"))?);
        let stdin = match (self.terminal.take(), &self.input) {
            (Some(slave), _) => slave.into(),
            (None, Some(bytes)) => {
                fs::write(file("stdin"), bytes)?;
                fs::File::open(file("stdin"))?.into()
            }
            (None, None) => Stdio::null(),
        };
        command.stdin(stdin);
        let mark = lab.mark;
        let first = move || {
            mark.begin()?;
            Ok(setrlimit(Resource::RLIMIT_FSIZE, LONGEST_FILE, LONGEST_FILE)?)
        };
        // SAFETY: system calls only, and `prepared` asks the same of everything it is given.
        unsafe { command.pre_exec(first) };
        for preparation in self.preparations.drain(..) {
            // SAFETY: as above.
            unsafe { command.pre_exec(preparation) };
        }
        (lab.terms.told)(&line);
        let child = command.spawn().with_context(|| format!("starting {line}"))?;
        Ok(Running {
            line,
            child,
            stdout: file("stdout"),
            stderr: file("stderr"),
            command: self.arguments,
            mark,
            longest: lab.terms.longest,
        })
    }

    /// Runs it to its end.
    pub(crate) fn finish(self) -> Result<Outcome> {
        self.start()?.finish()
    }
}
