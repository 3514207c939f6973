//! What every fault is tried on: a run that uses all that its chapter can do, and proves how it was confined.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{Termios, tcgetattr};

use super::calls::{self, Call, part_of};
use super::own_cgroups::{OwnCgroups, same_paths};
use super::tracer::{self, Fault, Seen, Who};
use crate::chapter::Chapter::{Aufs, Cgroups, Init, Lifecycle, PivotRoot, Volumes};
use crate::machine::aufs;
use crate::machine::process::Process;
use crate::see::{self, SOON, wait_for};
use crate::trial::outcome::Outcome;
use crate::trial::running::Running;
use crate::trial::runtime::{Lab, Run};
use crate::trial::strace;

/// The command's own exit status.
const STATUS: i32 = 7;

/// Says how the command is confined. Its first word means that it ran; its last, that it ran to its end.
const EVIDENCE: &str = "
    echo ran as $$; cat /proc/sys/kernel/hostname; umask; env | sort; ls /proc/self/fd;
    grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; cut -d ' ' -f 6 /proc/self/stat; cut -d ' ' -f 2-4 /proc/mounts | sed 's/,lowerdir.*//; s/,si=[0-9a-f]*//';
    for kind in mnt uts ipc pid net; do readlink /proc/self/ns/$kind | grep -qxF -e \"$0\" -e \"$1\" -e \"$2\" -e \"$3\" -e \"$4\" && echo host; done;
    cut -d : -f 3 /proc/self/cgroup | sed 's|[^/]*$||';";

/// Only where the root and /dev are the container's own.
const DEVICES: &str =
    " stat -c '%n %a %t %T' /dev/*; for link in fd stdin stdout stderr; do readlink /dev/$link; done;";

/// Only where the host's cgroup files are in sight.
const LIMITS: &str = " id=$(sed -n 's|.*/byhand/||p' /proc/self/cgroup | head -n 1); cd /sys/fs/cgroup;
    for file in memory/@/memory.limit_in_bytes memory/@/memory.memsw.limit_in_bytes cpu/@/cpu.shares cpuset/@/cpuset.cpus pids/@/pids.max \
     @/memory.max @/memory.swap.max @/cpu.weight @/cpuset.cpus @/pids.max; do cat \"${file%@*}byhand/$id${file#*@}\" 2> /dev/null; done;";

/// Only with a terminal, which is left in another mode than it was found in.
const TERMINAL: &str = " [ -t 0 ] && echo terminal && stty -echo;";

/// Only with volumes.
const DATA: &str = " cat /data/file; echo inside > /data/new; ls /data /made; echo x 2> /dev/null > /fixed/new; cat /fixed/file;";

/// How a run with a fault went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// As if nothing had been.
    Ran,
    /// The command ran as asked, and then the runtime said what had failed.
    RanWithError,
    /// The command did not run, and one line says why.
    Refused,
    /// The run went on without that call, as long files take more calls to read than short ones.
    NotReached,
}

/// What is special about the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All that the chapter can do, on a host where it has run before.
    Usual,
    /// With a terminal that is lent to the container.
    AtTerminal,
    /// The first run on a host, which makes the image.
    First,
}

/// A lab, and in it a run whose every step can be made to fail.
pub(super) struct Scene<'a> {
    pub(super) lab: &'a Lab,
    pub(super) kind: Kind,
    /// The terminal's other side, with the modes that it had.
    terminal: RefCell<Option<(OwnedFd, Termios)>>,
    /// The container's cgroups come in here, and nobody else's.
    cgroups: OwnCgroups<'a>,
    options: Vec<String>,
    script: String,
    stand_in: bool,
    /// The runtime's own calls in an undisturbed run.
    pub(super) calls: Vec<Call>,
    /// What such a run prints.
    evidence: Vec<u8>,
    before: State,
}

/// What must be there again after each run: directories of containers, cgroups, processes.
struct State {
    files: Vec<PathBuf>,
    cgroups: Vec<PathBuf>,
    processes: Vec<Process>,
}

impl Kind {
    pub(super) fn described(self) -> &'static str {
        match self {
            Kind::Usual => "a usual run",
            Kind::AtTerminal => "a run with a terminal",
            Kind::First => "the first run, which makes the image",
        }
    }

    /// Those that a chapter has, the usual one first.
    pub(super) fn all(lab: &Lab) -> Vec<Kind> {
        // Later chapters make it by the same calls, before any of their own.
        let image = (lab.chapter() == PivotRoot).then_some(Kind::First);
        [Kind::Usual, Kind::AtTerminal].into_iter().chain(image).collect()
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(lab: &'a Lab, kind: Kind) -> Result<Scene<'a>> {
        strace::required()?;
        let all_limits = lab.has(Cgroups) && !lab.has(PivotRoot);
        let controllers: &[&str] = match (lab.has(Cgroups), all_limits) {
            (false, _) => &[],
            (true, false) => &["memory"],
            (true, true) => &["memory", "cpu", "cpuset", "pids"],
        };
        let cgroups = OwnCgroups::new(lab, controllers)?;
        let mut options = vec!["--hostname".to_string(), "inside".to_string()];
        if cgroups.any() {
            options.extend(["-m", "100m"].map(String::from));
            if all_limits {
                let more = ["--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "50"];
                options.extend(more.map(String::from));
            }
        }
        let mut script = EVIDENCE.to_string();
        if kind == Kind::AtTerminal {
            options.extend(["-i", "-t"].map(String::from));
            script += TERMINAL;
            if lab.has(Init) {
                options.push("--init".to_string());
            }
        }
        if lab.has(PivotRoot) {
            script += DEVICES;
        } else if lab.has(Cgroups) {
            script += LIMITS;
        }
        if lab.has(Volumes) {
            script += DATA;
            fs::write(lab.folder("data")?.join("file"), "the host's\n")?;
            fs::write(lab.folder("fixed")?.join("file"), "to be read\n")?;
            for volume in ["data:/data", "made:/made/deep", "fixed:/fixed:ro"] {
                options.extend(["-v".to_string(), lab.path(volume).to_string_lossy().into_owned()]);
            }
        }
        script += &format!(" echo end; exit {STATUS}");
        let stand_in = lab.has(Aufs) && !aufs::on_this_kernel();
        let before = State { files: Vec::new(), cgroups: Vec::new(), processes: Vec::new() };
        let (calls, evidence) = (Vec::new(), Vec::new());
        let mut scene = Scene {
            lab,
            kind,
            terminal: RefCell::default(),
            cgroups,
            options,
            script,
            stand_in,
            calls,
            evidence,
            before,
        };
        scene.look()?;
        Ok(scene)
    }

    /// Sweeps through the calls of a usual run, and then of the special ones; or, where a machine is too slow for all,
    /// through a part of them: `LAB_FAULTS=I/N` in the environment is the I-th of N parts.
    pub(super) fn each_kind(
        lab: &'a Lab,
        sweep: impl Fn(&mut Scene<'a>, &[Call]) -> Result<()>,
    ) -> Result<()> {
        let mut usual = Vec::new();
        for kind in Kind::all(lab) {
            let mut scene = Scene::new(lab, kind)?;
            let calls = if kind == Kind::Usual { scene.calls.clone() } else { scene.calls_beyond(&usual) };
            sweep(&mut scene, &part_of(&calls)?)?;
            if kind == Kind::Usual {
                usual = calls;
            }
        }
        Ok(())
    }

    /// Finds out how the run goes if nothing goes wrong.
    fn look(&mut self) -> Result<()> {
        // What is made only once is made now.
        self.carry_out(None)?;
        let seen = self.carry_out(None)?;
        self.evidence = seen.outcome.stdout.clone();
        let text = seen.outcome.output();
        let number = if self.has_own_terminal() { 2 } else { 1 }; // after the init
        let whole =
            text.starts_with(&format!("ran as {number}\ninside\n0022\n")) && text.ends_with("\nend\n");
        if !whole || text.contains("host\n") && !text.contains("the host's\n") {
            return Err(seen.outcome.differs("a command that proves to run confined"));
        }
        self.aftermath(&seen.outcome, None)?;
        self.calls = calls::own(self.lab, &seen.calls, &self.names()?)?;
        self.settle()
    }

    /// Takes the present state for the one that every run must leave.
    pub(super) fn settle(&mut self) -> Result<()> {
        let files = self.files();
        self.before = State { files, cgroups: self.cgroups.list(), processes: self.lab.mark().processes() };
        self.lab.arranged()
    }

    fn names(&self) -> Result<HashMap<u64, String>> {
        // Where there is no aufs to mount, the run shall get further than that.
        let as_if: &[&str] = if self.stand_in { &["-e", "inject=mount:retval=0:when=1"] } else { &[] };
        calls::names(self.lab, as_if, self.run_of(&["true"])?)
    }

    fn run(&self) -> Result<Run<'a>> {
        self.run_of(&["sh", "-c", self.script.as_str()])
    }

    fn run_of(&self, command: &[&str]) -> Result<Run<'a>> {
        let namespace = |kind| Process::this().namespace(kind).unwrap_or_default();
        let hosts = ["mnt", "uts", "ipc", "pid", "net"].map(|kind| namespace(kind).into_os_string());
        let command = command.iter().map(std::ffi::OsString::from);
        let run = self.lab.run(command.chain(hosts)).with(&self.options);
        let run = run.variable("RUST_BACKTRACE", "0");
        if self.kind != Kind::AtTerminal {
            return Ok(run);
        }
        let pty = openpty(None, None).context("opening a pty")?;
        for fd in [&pty.master, &pty.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let modes = tcgetattr(&pty.master).context("reading the terminal's modes")?;
        self.terminal.replace(Some((pty.master, modes)));
        Ok(run.at_terminal(pty.slave))
    }

    /// Fails unless the terminal is in the mode that it was in before the run.
    pub(super) fn terminal_is_as_before(&self, did: &str) -> Result<()> {
        let terminal = self.terminal.borrow();
        let Some((master, before)) = terminal.as_ref() else { return Ok(()) };
        let now = tcgetattr(master).context("reading the terminal's modes")?;
        see::same(did, "the terminal's modes to be as before:", before, &now)
    }

    /// The run, with a fault in it.
    pub(super) fn carry_out(&self, fault: Option<Fault>) -> Result<Seen> {
        self.carry_out_while(fault, &|| {})
    }

    /// The run with nothing wrong. Not traced, unless a tracer has to stand in for aufs: that is quicker.
    pub(super) fn carry_out_well(&self) -> Result<Outcome> {
        if self.stand_in {
            return Ok(self.carry_out(None)?.outcome);
        }
        self.clear();
        Ok(self.told_apart(self.run()?.finish()?))
    }

    /// Whether the container has a terminal of its own.
    fn has_own_terminal(&self) -> bool {
        self.kind == Kind::AtTerminal && self.lab.has(Init)
    }

    /// Whether a run may get on without this call: there was less to read, or, where processes copy what is printed, less
    /// often something to copy, to be told, or to wait for.
    pub(super) fn may_miss(&self, call: &Call) -> bool {
        let copied =
            call.who == Who::Helper || ["kill", "wait4", "rt_sigtimedwait"].contains(&call.name.as_str());
        const PASSED_ON: [&str; 7] = ["poll", "write", "recvfrom", "recvmsg", "sendto", "sendmsg", "fcntl"];
        let passed_on =
            call.who == Who::Helper || call.who == Who::Parent && PASSED_ON.contains(&call.name.as_str());
        call.name == "read" || self.has_own_terminal() && copied || self.lab.has(Lifecycle) && passed_on
    }

    /// Fails if a run whose child was killed has printed anything. An init may be killed when the command has run.
    pub(super) fn printed_no_more(&self, outcome: &Outcome) -> Result<()> {
        if self.has_own_terminal() && self.evidence.starts_with(&outcome.stdout) {
            return Ok(());
        }
        outcome.prints("").map(drop)
    }

    /// What comes through a container's terminal has its line ends, and in it also what the runtime says in the container.
    fn told_apart(&self, mut outcome: Outcome) -> Outcome {
        if self.has_own_terminal() {
            let name =
                self.lab.program().file_name().unwrap_or_default().to_string_lossy().into_owned() + ": ";
            let text = outcome.output().replace("\r\n", "\n");
            let (said, printed): (Vec<_>, Vec<_>) =
                text.split_inclusive('\n').partition(|line| line.starts_with(&name));
            outcome.stdout = printed.concat().into();
            outcome.stderr.extend(said.concat().into_bytes());
        }
        outcome
    }

    /// The run, and what happens while it waits.
    pub(super) fn carry_out_while(&self, fault: Option<Fault>, meanwhile: &dyn Fn()) -> Result<Seen> {
        self.clear();
        let mut seen = tracer::carry_out(self.run()?, fault, self.stand_in, meanwhile)?;
        seen.outcome.line = "the run of this check, shown at the end".to_string();
        seen.outcome = self.told_apart(seen.outcome);
        Ok(seen)
    }

    /// Takes away what an earlier run has made: in its volumes, and if this is to be the first one, the image.
    fn clear(&self) {
        if self.kind == Kind::First {
            let _ = fs::remove_dir_all(self.lab.state().join("images"));
        }
        for made in ["data/new", "fixed/new"] {
            let _ = fs::remove_file(self.lab.path(made));
        }
        for made in ["made/deep", "made"] {
            let _ = fs::remove_dir(self.lab.path(made));
        }
    }

    /// What a fault has led to. An error if it is none of what is allowed. `reason` is what the line on stderr must
    /// have in it, if there is one.
    pub(super) fn aftermath(&self, outcome: &Outcome, reason: Option<&str>) -> Result<Aftermath> {
        if outcome.stdout.is_empty() {
            outcome.refuses(&[125, 126, 127])?;
        } else if (self.has_own_terminal() || self.lab.has(Lifecycle))
            && outcome.stdout != self.evidence
            && self.evidence.starts_with(&outcome.stdout)
        {
            outcome.exits(125)?; // the process that carries what it prints has failed in the middle
        } else if outcome.stdout != self.evidence {
            return Err(see::differs(
                &outcome.line,
                "no output, or that of an undisturbed run",
                format!("{}; stderr {:?}", different_lines(&self.evidence, &outcome.stdout), outcome.error()),
            ));
        } else if outcome.status.code() == Some(STATUS) {
            outcome.complains("")?;
            return Ok(Aftermath::Ran);
        } else {
            outcome.exits(125)?;
        }
        let error = outcome.error();
        if error.lines().count() != 1 {
            return Err(outcome.differs("one line on stderr that says why"));
        }
        if let Some(reason) = reason
            && !error.contains(reason)
        {
            return Err(outcome.differs(format!("{reason:?} on stderr")));
        }
        Ok(if outcome.stdout.is_empty() { Aftermath::Refused } else { Aftermath::RanWithError })
    }

    /// Lets a run take away what one with a wrong end has left, so that the next fault starts afresh.
    pub(super) fn recover(&self) {
        let _ = self.no_process_left("").and_then(|()| self.carry_out_well());
    }

    /// The calls of a name that comes more often than in another run, or less often. Of many of one name, as when a
    /// file is made for each of busybox's commands, only some.
    fn calls_beyond(&self, other: &[Call]) -> Vec<Call> {
        let count = |calls: &[Call], one: &Call| calls.iter().filter(|call| call.is_like(one)).count();
        let mut beyond = calls::some_of_each(&self.calls, 4);
        beyond.retain(|call| count(&self.calls, call) != count(other, call));
        beyond
    }

    /// The shell line of the run.
    pub(super) fn line(&self) -> String {
        self.run().map(|run| run.line()).unwrap_or_default()
    }

    /// The runtime's options for all that.
    pub(super) fn options(&self) -> &[String] {
        &self.options
    }

    /// Starts a container with all that the chapter has, which does nothing.
    pub(super) fn start_idle(&self) -> Result<Running> {
        self.lab.run(["sleep", "1000"]).with(&self.options).start()
    }

    /// Starts the run without a tracer.
    pub(super) fn start(&self) -> Result<Running> {
        self.run()?.start()
    }

    /// Fails unless the command ran to its end with all its limits. Others may have written in its volume.
    pub(super) fn ran(&self, outcome: &Outcome) -> Result<()> {
        outcome.exits(STATUS)?.complains("")?;
        if outcome.output().ends_with("\nend\n") { Ok(()) } else { Err(outcome.differs("all of its output")) }
    }

    /// Starts a container that lives on, if this kernel can. It has to stay as it is, whatever the others do.
    pub(super) fn start_living(&mut self) -> Result<Option<Running>> {
        if self.stand_in {
            return Ok(None);
        }
        let mut living = self.lab.sh("echo ready; exec sleep 1000").with(&self.options).start()?;
        living.wrote("ready")?;
        self.look()?; // some things are there already now, and need not be made
        Ok(Some(living))
    }

    /// Fails if a process is left, or the host's mounts or name have changed.
    pub(super) fn host_is_as_before(&self, did: &str) -> Result<()> {
        self.no_process_left(did)?;
        self.lab.host_unchanged(did)
    }

    pub(super) fn no_process_left(&self, did: &str) -> Result<()> {
        let left = || {
            let all = self.lab.mark().processes();
            all.into_iter().filter(|process| !self.before.processes.contains(process)).collect::<Vec<_>>()
        };
        if wait_for(SOON, || Ok(left().is_empty().then_some(())))?.is_some() {
            return Ok(());
        }
        let left: Vec<_> = left().iter().map(|process| process.command()).collect();
        Err(see::differs(did, "no process left", format!("{left:?}")))
    }

    /// Fails if a directory or a cgroup of a container's is left, or gone.
    pub(super) fn nothing_is_left(&self, did: &str) -> Result<()> {
        same_paths(did, "the state directory", &self.before.files, &self.files())?;
        same_paths(did, "the cgroup tree", &self.before.cgroups, &self.cgroups.list())?;
        if self.lab.has(Volumes) {
            let text = fs::read_to_string(self.lab.path("data/file")).unwrap_or_default();
            see::same(did, "in the volume's file", "the host's\n", text.as_str())?;
            see::same(did, "a file in the read-only volume:", false, self.lab.path("fixed/new").exists())?;
        }
        Ok(())
    }

    /// What is in the state directory, three levels deep: images, and what containers have.
    fn files(&self) -> Vec<PathBuf> {
        let mut list = Vec::new();
        list_to_depth(&self.lab.state(), 3, &mut list);
        let images = self.lab.state().join("images");
        list.retain(|path| *path != images && !path.starts_with(images.join("busybox")));
        list.sort();
        list
    }
}

/// In which lines two texts differ.
fn different_lines(expected: &[u8], saw: &[u8]) -> String {
    let [expected, saw] = [expected, saw].map(String::from_utf8_lossy);
    let only_in = |one: &str, other: &str| {
        let lines = one.lines().filter(|line| !other.lines().any(|theirs| theirs == *line));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    format!("missing {:?}, more {:?}", only_in(&expected, &saw), only_in(&saw, &expected))
}

fn list_to_depth(directory: &Path, depth: u32, list: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        list.push(entry.path());
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list_to_depth(&entry.path(), depth - 1, list);
        }
    }
}
