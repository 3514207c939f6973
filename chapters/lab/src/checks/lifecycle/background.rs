//! `run -d`: a container that nobody waits for.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, differs, wait_for};
use crate::trial::kept::is_id;
use crate::trial::outcome::Outcome;
use crate::trial::runtime::Lab;
use crate::trial::terminal::{CTRL_C, Terminal};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "detached-returns",
        Lifecycle,
        "run -d prints the container's id and nothing else, and returns at once: the container runs.",
        returns,
    ),
    Check::new(
        "detached-own-session",
        Lifecycle,
        "Nothing of a detached container is in the caller's session, or has the caller's terminal.",
        own_session,
    ),
    Check::new(
        "detached-stdio-null",
        Lifecycle,
        "A detached container reads /dev/null, and nothing of it holds the caller's files or directory.",
        stdio_null,
    ),
    Check::new(
        "detached-survives-caller",
        Lifecycle,
        "A detached container lives on when its caller's terminal is closed.",
        survives_caller,
    ),
    Check::new(
        "detached-failure",
        Lifecycle,
        "If run -d cannot start the command, the caller gets the status, 127, 126 or 125, and the one line.",
        failure,
    ),
    Check::new(
        "detached-rm",
        Lifecycle,
        "With -d --rm the container is gone after its end, and its name is free.",
        removed_at_its_end,
    ),
    Check::new(
        "cidfile",
        Lifecycle,
        "--cidfile writes the id into a new file; one that is there already is an error, 125.",
        cidfile,
    ),
];

fn returns(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).detach()?;
    let process = one.process()?;
    see::same(one.line(), "what process 1 runs:", "sleep 1000".to_string(), process.command())?;
    lab.says("ps", ["-q"], &format!("{}\n", one.id()))?;
    one.remove()?;
    see::same("rm -f", "process 1 to live on:", false, process.lives())
}

/// Its session, and the number of its terminal, on the host. 0 is none.
fn session_and_terminal(process: Process) -> (String, String) {
    let stat = fs::read_to_string(process.file("stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ').skip(3);
    let mut next = || fields.next().unwrap_or_default().to_string();
    (next(), next())
}

fn own_session(lab: &Lab) -> Result<()> {
    let script = "\"$RUNTIME\" run -d $IMAGE sleep 1000; echo \"status $?\"; read line";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows("status 0")?;
    let one = lab.only_kept()?;
    one.process()?;
    let caller = terminal.leader();
    for process in lab.mark().processes().into_iter().filter(|process| *process != caller) {
        let (session, number) = session_and_terminal(process);
        let what = format!("process {} ({})", process.0, process.command());
        if session == caller.0.to_string() {
            return Err(differs(terminal.line(), format!("{what} in a session of its own"), "the caller's"));
        }
        see::same(terminal.line(), &format!("{what} to have a terminal:"), "0".to_string(), number)?;
    }
    Ok(())
}

fn stdio_null(lab: &Lab) -> Result<()> {
    let folder = lab.folder("caller")?;
    let open = folder.join("open");
    File::create(&open)?;
    let script = "readlink /proc/self/fd/0; read line || echo end; exec sleep 1000";
    let holds = format!("exec \"$@\" 9>> {}", see::quoted(&open));
    let run = lab.kept(["sh", "-c", script]).inside(&folder).under(["sh", "-c", &holds, "sh"]);
    let one = run.detach()?;
    one.wrote("/dev/null\nend\n")?;
    let is_callers = |path: &Path| path.starts_with(lab.path("")) && !path.starts_with(lab.state());
    for process in lab.mark().processes() {
        let mut held: Vec<_> = process.descriptors().unwrap_or_default().into_values().collect();
        held.extend(fs::read_link(process.file("cwd")).map(|path| path.display().to_string()));
        held.retain(|path| is_callers(Path::new(path)));
        if !held.is_empty() {
            let what = format!("process {} ({}) holds {held:?}", process.0, process.command());
            return Err(one.differs("nothing of the caller's to be held", what));
        }
    }
    Ok(())
}

fn survives_caller(lab: &Lab) -> Result<()> {
    let script = "\"$RUNTIME\" run -d $IMAGE sh -c 'n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done'; echo \"status $?\"; read line";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows("status 0")?;
    let one = lab.only_kept()?;
    let processes = lab.mark().processes();
    terminal.types(CTRL_C)?;
    let leader = terminal.leader();
    let ended = wait_for(SOON, || Ok((!leader.lives()).then_some(())))?;
    ended.ok_or_else(|| differs(terminal.line(), "the caller's end", "it lives"))?;
    let line = terminal.line().to_string();
    drop(terminal); // which closes it: the kernel sends SIGHUP
    // And whoever does by hand what a shell does when it ends.
    for process in
        processes.iter().filter(|process| session_and_terminal(**process).0 == leader.0.to_string())
    {
        process.signal(Signal::SIGHUP);
    }
    std::thread::sleep(Duration::from_millis(100));
    let lines = one.logs()?.output().lines().count();
    let more = || Ok((one.logs()?.output().lines().count() > lines + 2).then_some(()));
    wait_for(Duration::from_secs(5), more)?.ok_or_else(|| {
        differs(&line, "a container that goes on writing", format!("{lines} lines in its log"))
    })
}

/// One line on stderr that mentions `why`, and on stdout an id, as Docker has it, or nothing.
fn told(outcome: &Outcome, status: i32, why: &str) -> Result<()> {
    outcome.exits(status)?.mentions(why)?;
    let out = outcome.output();
    if outcome.error().lines().count() != 1 || !(out.is_empty() || is_id(out.trim_end())) {
        return Err(outcome.differs("one line on stderr, and on stdout an id or nothing"));
    }
    Ok(())
}

fn failure(lab: &Lab) -> Result<()> {
    for (command, status) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        let outcome = lab.kept([command]).with(["-d"]).finish()?;
        told(&outcome, status, command)?;
        let one = lab.only_kept()?; // it can be looked at, and tried again
        see::same(&outcome.line, "the State in ps -a:", "created".to_string(), one.state()?)?;
        one.remove()?;
        let outcome = lab.kept([command]).with(["--rm", "-d"]).finish()?;
        told(&outcome, status, command)?;
        see::same(&outcome.line, "with --rm, what is left:", Vec::new(), lab.containers())?;
    }
    for options in [["-m", "much"], ["--no-such-option", "-d"], ["--restart", "sometimes"]] {
        let outcome = lab.kept(["true"]).with(["-d"]).with(options).finish()?;
        outcome.refuses(&[125])?;
        see::same(&outcome.line, "what is left:", Vec::new(), lab.containers())?;
    }
    let outcome = lab.kept(["true"]).with(["--rm", "-d", "--rootfs", "/no/such/image"]).finish()?;
    told(&outcome, 125, "/no/such/image")?;
    see::same(&outcome.line, "what is left:", Vec::new(), lab.containers())
}

fn removed_at_its_end(lab: &Lab) -> Result<()> {
    for round in 0..3 {
        let one = lab.kept(["sh", "-c", "echo written > /file; exit 3"]);
        let one = one.with(["--rm", "--name", "again"]).detach()?;
        one.becomes("none")?;
        let gone = || Ok(lab.containers().is_empty().then_some(()));
        if wait_for(SOON, gone)?.is_none() {
            return Err(
                one.differs(format!("nothing left, in round {round}"), format!("{:?}", lab.containers()))
            );
        }
    }
    Ok(())
}

fn cidfile(lab: &Lab) -> Result<()> {
    let file = lab.path("id");
    let option = ["--cidfile".as_ref(), file.as_os_str()];
    let one = lab.kept(["sleep", "1000"]).with(option).detach()?;
    see::same(one.line(), "the file's content:", one.id().to_string(), fs::read_to_string(&file)?)?;
    let outcome = lab.kept(["echo", "the command ran"]).with(option).finish()?;
    outcome.refuses(&[125])?.mentions("exist")?;
    see::same(&outcome.line, "the file's content:", one.id().to_string(), fs::read_to_string(&file)?)?;
    lab.says("ps", ["-a", "-q"], &format!("{}\n", one.id()))?;
    fs::remove_file(&file)?;
    let outcome = lab.run(["hostname"]).with(option).finish()?; // without -d too
    outcome.succeeds()?;
    let written = fs::read_to_string(&file)?;
    outcome.prints(format!("{written}\n")).map(drop)
}
