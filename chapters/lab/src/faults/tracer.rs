//! A debugger's hand on a run: one chosen system call fails, or is a process's last. ptrace(2).
//!
//! strace can inject errors too, but it counts calls in each process from its first one on: it cannot fail the
//! child's third openat and leave the parent's third alone. So this tracer addresses a call by whose it is.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::personality::{self, Persona};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::machine::process::Process;
use crate::see::cannot_run;
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Run;

/// No run takes longer; one that does is killed, with all that it has left.
const LONGEST: Duration = Duration::from_secs(30);

/// Which of the runtime's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Who {
    /// `run` itself.
    Parent,
    /// Process 1 of the container, until it becomes the command.
    Child,
    /// A program that `run` starts, such as modprobe, until it is that program.
    Helper,
}

/// What happens to the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The kernel never sees it, and the process sees this error.
    Fails(Errno),
    /// The process is killed by SIGKILL in the place of the call.
    Kills,
    /// The process has to wait before the call, while the check does something of its own.
    Waits,
}

/// One call of a run, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) who: Who,
    /// The kernel's number of the call.
    pub(super) call: u64,
    /// Which of the process's calls of this number: its first has 1.
    pub(super) occurrence: usize,
    pub(super) what: What,
}

/// What the tracer saw of a run.
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    /// The kernel's numbers of all calls, each process's in order.
    pub(super) calls: Vec<(Who, u64)>,
    /// Whether the run got to the call that the fault is for.
    pub(super) hit: bool,
}

/// Carries out a run to its end, with a fault in it or none, and `meanwhile` where that waits. With `stand_in`, a mount of aufs becomes an overlay
/// of the same directories, made by the tracer: on a kernel without aufs, that is how far ch04_aufs gets.
pub(super) fn carry_out(
    run: Run<'_>,
    fault: Option<Fault>,
    stand_in: bool,
    meanwhile: &dyn Fn(),
) -> Result<Seen> {
    if !arch::KNOWN {
        return Err(cannot_run("the tracer knows the registers of x86-64 only"));
    }
    let traced = || {
        // Equal runs then make equal calls: where memory lies decides how much /proc/self/maps there is to read.
        personality::set(personality::get()? | Persona::ADDR_NO_RANDOMIZE)?;
        Ok(ptrace::traceme()?)
    };
    // Never dropped, for that would kill a process which the tracer has waited for, or whoever has its number now.
    let run = ManuallyDrop::new(run.prepared(traced).start()?);
    let main = Pid::from_raw(run.runtime().0);
    let mut tracer = Tracer {
        meanwhile,
        main,
        fault,
        stand_in,
        processes: HashMap::new(),
        known: HashSet::new(),
        count: 0,
        calls: Vec::new(),
        hit: false,
        end: None,
    };
    let mark = run.mark();
    let (done, ended) = mpsc::channel::<()>();
    let (status, overdue) = thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let overdue = ended.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout);
            if overdue {
                mark.processes().into_iter().for_each(|process| process.signal(Signal::SIGKILL));
            }
            overdue
        });
        let status = tracer.follow();
        drop(done);
        (status, watch.join().unwrap_or(true))
    });
    let outcome =
        Outcome { line: run.line().to_string(), status: status?, stdout: run.stdout(), stderr: run.stderr() };
    if overdue {
        return Err(outcome.differs(format!("an end of all its processes within {LONGEST:?}")));
    }
    Ok(Seen { outcome, calls: tracer.calls, hit: tracer.hit })
}

/// A process under trace.
#[derive(Debug)]
struct Traced {
    who: Who,
    /// Whether it is inside one.
    inside: bool,
    /// What that call will return, in the place of what the kernel says.
    answer: Option<u64>,
}

struct Tracer<'a> {
    meanwhile: &'a dyn Fn(),
    main: Pid,
    fault: Option<Fault>,
    stand_in: bool,
    processes: HashMap<Pid, Traced>,
    /// Those that have ever been among them.
    known: HashSet<Pid>,
    /// How many calls were begun of the fault's number, by those whom it is for. Helpers run one after the other.
    count: usize,
    calls: Vec<(Who, u64)>,
    hit: bool,
    end: Option<ExitStatus>,
}

impl Tracer<'_> {
    fn follow(&mut self) -> Result<ExitStatus> {
        use ptrace::Options;
        waitpid(self.main, Some(WaitPidFlag::__WALL)).context("waiting for the run to be traced")?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.main, options).context("tracing the run")?;
        self.add(self.main, Who::Parent);
        self.go_on(self.main, None)?;
        loop {
            // Of this thread's children only: other checks run in other threads.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)).context("waiting for the traced processes")? {
                WaitStatus::Exited(pid, code) => self.ended(pid, code << 8),
                WaitStatus::Signaled(pid, signal, _) => self.ended(pid, signal as i32),
                WaitStatus::PtraceSyscall(pid) => self.at_call(pid)?,
                WaitStatus::PtraceEvent(pid, _, event) => self.at_event(pid, event)?,
                WaitStatus::Stopped(pid, Signal::SIGSTOP) => {
                    self.add_new(pid); // every new process begins with this signal
                    self.go_on(pid, None)?;
                }
                WaitStatus::Stopped(pid, Signal::SIGSEGV) => {
                    // Process 1 of a container cannot die of its own crash while it is traced: let it go.
                    self.processes.remove(&pid);
                    unless_dead(ptrace::detach(pid, None))?;
                }
                WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal))?,
                _ => {}
            }
            if let Some(status) = self.end
                && self.processes.is_empty()
            {
                return Ok(status);
            }
        }
    }

    fn add(&mut self, pid: Pid, who: Who) {
        self.processes.insert(pid, Traced { who, inside: false, answer: None });
    }

    /// A container's process has a number in a PID namespace of its own, too.
    fn add_new(&mut self, pid: Pid) {
        // It is told of twice: by its first signal and by its parent. On a busy machine it may have come and gone in between.
        if self.known.insert(pid) {
            let inside = Process(pid.as_raw()).numbers().len() > 1;
            self.add(pid, if inside { Who::Child } else { Who::Helper });
        }
    }

    fn ended(&mut self, pid: Pid, status: i32) {
        self.processes.remove(&pid);
        if pid == self.main {
            self.end = Some(ExitStatus::from_raw(status));
        }
    }

    fn at_event(&mut self, pid: Pid, event: i32) -> Result<()> {
        if event != libc::PTRACE_EVENT_EXEC {
            // Told of before it is seen, so that it is waited for even if it is killed before it does anything.
            if let Ok(new) = ptrace::getevent(pid) {
                self.add_new(Pid::from_raw(new as i32));
            }
        } else if pid != self.main {
            // It is the command now, or a helper: no longer the runtime, and none of our business.
            self.processes.remove(&pid);
            return unless_dead(ptrace::detach(pid, None));
        }
        self.go_on(pid, None)
    }

    fn go_on(&self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        // What comes after the fault need not be counted, but an aufs mount may still have to be made.
        let counts = !self.hit || self.stand_in;
        let inside = self.processes.get(&pid).is_some_and(|process| process.inside);
        unless_dead(if counts || inside { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) })
    }

    /// At the beginning or the end of a call.
    fn at_call(&mut self, pid: Pid) -> Result<()> {
        let Some(process) = self.processes.get_mut(&pid) else { return self.go_on(pid, None) };
        process.inside = !process.inside;
        let Ok(mut registers) = arch::getregs(pid) else { return Ok(()) }; // killed just now
        if process.inside {
            let call = arch::number(&registers);
            self.calls.push((process.who, call));
            let mut chosen = self.fault.filter(|fault| fault.who == process.who && fault.call == call);
            self.count += usize::from(chosen.is_some());
            chosen = chosen.filter(|fault| fault.occurrence == self.count);
            self.hit |= chosen.is_some();
            match chosen.map(|fault| fault.what) {
                Some(What::Kills) => {
                    return unless_dead(kill(pid, Signal::SIGKILL));
                }
                Some(What::Fails(errno)) => {
                    process.answer = Some(-i64::from(errno as i32) as u64);
                }
                Some(What::Waits) => (self.meanwhile)(),
                None if self.stand_in && call == arch::MOUNT && process.who == Who::Parent => {
                    process.answer = mounted_for(pid, arch::arguments(&registers))?.then_some(0);
                }
                None => {}
            }
            // An interrupted close(2) has closed its file all the same, on Linux.
            if process.answer.is_some() && call != arch::CLOSE {
                arch::skip(&mut registers);
                unless_dead(arch::setregs(pid, registers))?;
            }
        } else if let Some(answer) = process.answer.take() {
            arch::answer(&mut registers, answer);
            unless_dead(arch::setregs(pid, registers))?;
        } else if self.stand_in && process.who == Who::Parent && arch::number(&registers) == arch::READ {
            call_it_aufs(pid, &mut registers)?;
        }
        self.go_on(pid, None)
    }
}

/// Makes the overlay that stands in for a mount of aufs. The tracer shares the mount table of `run`.
fn mounted_for(pid: Pid, arguments: [u64; 5]) -> Result<bool> {
    let [_, target, filesystem, _, options] = arguments.map(|address| text_at(pid, address));
    let branches = options.strip_prefix("dirs=").and_then(|dirs| dirs.split_once(':'));
    let Some((upper, lower)) = branches.filter(|_| filesystem == "aufs") else { return Ok(false) };
    // overlayfs wants one more directory, on the same file system. Outside of the workspace: there, a runtime takes it for
    // somebody else's, and rightly so.
    let workspace = Path::new(upper).parent().and_then(Path::file_name).unwrap_or_default();
    let lab = Path::new(upper).ancestors().nth(4).unwrap_or(Path::new("/"));
    let work = lab.join("work-for").join(workspace);
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let options = format!("lowerdir={lower},upperdir={upper},workdir={}", work.display());
    mount(Some("none"), target.as_str(), Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mounting an overlay on {target} in the place of aufs"))?;
    Ok(true)
}

/// In a mount table that `run` has just read, gives that overlay the name of what it stands in for.
fn call_it_aufs(pid: Pid, registers: &mut arch::Registers) -> Result<()> {
    let Ok(length @ 1..) = usize::try_from(arch::answered(registers)) else { return Ok(()) };
    let [_, buffer, ..] = arch::arguments(registers);
    let mut bytes = vec![0; length];
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
    let read = memory.and_then(|memory| memory.read_exact_at(&mut bytes, buffer).map(|()| memory));
    let (Ok(memory), Ok(text)) = (read, String::from_utf8(bytes)) else { return Ok(()) }; // killed just now, or no text
    let called = text.replace(" - overlay none ", " - aufs none ");
    if called.len() == text.len() {
        return Ok(());
    }
    memory.write_all_at(called.as_bytes(), buffer).context("changing what the run has read")?;
    arch::answer(registers, called.len() as u64);
    unless_dead(arch::setregs(pid, *registers))
}

/// The string, ended by a zero byte, at an address in a stopped process.
fn text_at(pid: Pid, address: u64) -> String {
    let mut bytes = Vec::new();
    'words: for offset in (0..4096).step_by(8) {
        let Ok(word) = ptrace::read(pid, (address + offset) as ptrace::AddressType) else { break };
        for byte in word.to_ne_bytes() {
            if byte == 0 {
                break 'words;
            }
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A process that was killed at this moment needs nothing more from us.
fn unless_dead(done: nix::Result<()>) -> Result<()> {
    match done {
        Err(Errno::ESRCH) => Ok(()),
        done => done.context("going on with a traced process"),
    }
}

/// Which registers hold a call's number, arguments and answer.
#[cfg(target_arch = "x86_64")]
mod arch {
    pub(super) use nix::libc::user_regs_struct as Registers;
    pub(super) use nix::sys::ptrace::{getregs, setregs};

    pub(super) const KNOWN: bool = true;
    pub(super) const MOUNT: u64 = nix::libc::SYS_mount as u64;
    pub(super) const CLOSE: u64 = nix::libc::SYS_close as u64;
    pub(super) const READ: u64 = nix::libc::SYS_read as u64;

    pub(super) fn number(registers: &Registers) -> u64 {
        registers.orig_rax
    }

    pub(super) fn arguments(registers: &Registers) -> [u64; 5] {
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8]
    }

    /// There is no call of this number, so the kernel does nothing.
    pub(super) fn skip(registers: &mut Registers) {
        registers.orig_rax = u64::MAX;
    }

    pub(super) fn answer(registers: &mut Registers, value: u64) {
        registers.rax = value;
    }

    /// What the kernel has answered; errors are negative.
    pub(super) fn answered(registers: &Registers) -> i64 {
        registers.rax.cast_signed()
    }
}

/// On other processors the checks say that they cannot be done.
#[cfg(not(target_arch = "x86_64"))]
mod arch {
    use nix::errno::Errno;
    use nix::unistd::Pid;

    #[derive(Clone, Copy)]
    pub(super) struct Registers;

    pub(super) const KNOWN: bool = false;
    pub(super) const MOUNT: u64 = u64::MAX;
    pub(super) const CLOSE: u64 = u64::MAX;
    pub(super) const READ: u64 = u64::MAX;

    pub(super) fn getregs(_: Pid) -> nix::Result<Registers> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn setregs(_: Pid, _: Registers) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn number(_: &Registers) -> u64 {
        u64::MAX
    }

    pub(super) fn arguments(_: &Registers) -> [u64; 5] {
        [0; 5]
    }

    pub(super) fn skip(_: &mut Registers) {}

    pub(super) fn answer(_: &mut Registers, _: u64) {}

    pub(super) fn answered(_: &Registers) -> i64 {
        -1
    }
}
