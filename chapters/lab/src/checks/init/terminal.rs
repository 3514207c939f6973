//! A terminal of the container's own, and the caller's kept out.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::Signal;

use crate::chapter::Chapter::Init;
use crate::checks::check::Check;
use crate::machine::process::Process;
use crate::see::{self, SOON, differs, wait_for};
use crate::trial::runtime::Lab;
use crate::trial::terminal::{CTRL_C, CTRL_D, CTRL_Z, Terminal};

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "pty-own",
        Init,
        "With -t, tty says /dev/pts/0, /dev/pts has 0 and ptmx, and is another than the host's.",
        own,
    ),
    Check::new(
        "pty-console",
        Init,
        "With -t, /dev/console is the container's terminal, and what is written there appears.",
        console,
    ),
    Check::new(
        "pty-more",
        Init,
        "A program in the container can open terminals of its own: /dev/pts/1.",
        more,
    ),
    Check::new(
        "pty-size",
        Init,
        "The container's terminal has the size of the caller's, at the start and after each change.",
        size,
    ),
    Check::new(
        "pty-keys",
        Init,
        "What is typed is echoed once, Ctrl-D ends the input, Ctrl-C comes to the foreground.",
        keys,
    ),
    Check::new(
        "pty-drain",
        Init,
        "All 100,000 lines of a command that ends at once arrive before run ends.",
        drain,
    ),
    Check::new(
        "pty-modes-back",
        Init,
        "After run -ti the caller's terminal has its modes again: after the command's end, a failure, SIGTERM, SIGKILL of the command.",
        modes_back,
    ),
    Check::new(
        "pty-stopped",
        Init,
        "SIGTSTP stops run -ti, the caller's terminal is as before meanwhile, and fg takes it up again, to its end, whoever else has the container's terminal open.",
        stopped,
    ),
    Check::new(
        "pty-closed",
        Init,
        "A command that closes its terminal and runs on leaves the caller's as it was, and Ctrl-C is a signal for the command.",
        closed,
    ),
    Check::new(
        "pty-no-terminal",
        Init,
        "-t without a terminal: the command has one all the same, and output is copied; with -i also the input, to its end.",
        no_terminal,
    ),
    Check::new("pty-gone", Init, "If nobody reads what run -t prints any more, the container ends.", gone),
    Check::new(
        "callers-terminal-out",
        Init,
        "With -t or without, no descriptor in the container leads to the caller's terminal.",
        out_of_reach,
    ),
    Check::new(
        "printed-in-order",
        Init,
        "Without -t, what is printed goes through pipes, and arrives at the caller's terminal whole and in its order.",
        in_order,
    )
    .until(Init), // then a log has the two streams apart, and each has its pipe
];

/// Runs a script at a terminal: `status N` appears after it.
fn at_terminal<'a>(lab: &'a Lab, options: &str, command: &str) -> Result<Terminal<'a>> {
    let script = format!(
        "\"$RUN\" run {options} $IMAGE {command}; echo \"status $?\"; read line; echo \"caller read $line\""
    );
    Terminal::with_shell(lab, &["-c", &script])
}

fn own(lab: &Lab) -> Result<()> {
    // It sleeps, so that what it prints arrives: whether the last words always do is for pty-drain to ask.
    for options in ["-t", "-ti", "-t --init", "-ti --init"] {
        let mut terminal = at_terminal(
            lab,
            options,
            "sh -c 'tty; echo there: $(ls /dev/pts) and $(stat -c %t:%T,%a,%g /dev/pts/0); grep -o \"devpts rw,nosuid,noexec\" /proc/mounts; [ -c /dev/ptmx ] && sleep 1'",
        )?;
        terminal.shows("/dev/pts/0\r")?;
        terminal.shows("there: 0 ptmx and 88:0,620,5\r")?;
        terminal.shows("devpts rw,nosuid,noexec\r")?;
        terminal.shows("status 0")?;
    }
    let mut run = lab.run(["sleep", "1000"]).with(["-t"]).start()?;
    let container = run.container()?;
    let inside = fs::metadata(container.path("/dev/pts"))?.dev();
    run.same(
        "the container's /dev/pts to be another file system than the host's:",
        false,
        inside == fs::metadata("/dev/pts")?.dev(),
    )?;
    run.kill_command()?;
    Ok(())
}

fn console(lab: &Lab) -> Result<()> {
    let mut terminal = at_terminal(
        lab,
        "-t",
        "sh -c 'stat -c console:%t:%T /dev/console; echo on-the-console > /dev/console; sleep 1'",
    )?;
    terminal.shows("console:88:0")?;
    terminal.shows("on-the-console")?;
    terminal.shows("status 0")
}

fn more(lab: &Lab) -> Result<()> {
    for options in [&[][..], &["-t"]] {
        let mut run = lab.run(["sleep", "1000"]).with(options).start()?;
        let container = run.container()?;
        // As a program in the container would, but for its user.
        let _terminal = fs::File::options().read(true).write(true).open(container.path("/dev/pts/ptmx"))?;
        let number = usize::from(options == ["-t"]);
        run.same(
            "a new terminal of the container",
            true,
            container.path(&format!("/dev/pts/{number}")).exists(),
        )?;
        let everyone = fs::metadata(container.path("/dev/pts/ptmx"))?.mode() & 0o777;
        run.same("the mode of /dev/pts/ptmx", 0o666, everyone)?;
        run.kill_command()?;
    }
    Ok(())
}

fn size(lab: &Lab) -> Result<()> {
    for options in ["-ti", "-ti --init", "-t"] {
        let script = format!(
            "stty rows 31 cols 71; \"$RUN\" run {options} $IMAGE sh -c 'n=0; trap \"stty size; n=\\$((n+1))\" WINCH; stty size; while [ $n -lt 2 ]; do sleep 0.05; done'; echo over"
        );
        let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
        terminal.shows("31 71")?;
        terminal.resize(42, 101)?;
        terminal.shows("42 101")?;
        terminal.resize(12, 40)?;
        terminal.shows("12 40")?;
        terminal.shows("over")?;
    }
    Ok(())
}

fn keys(lab: &Lab) -> Result<()> {
    let mut terminal = at_terminal(
        lab,
        "-ti",
        "sh -c 'echo ready; cat; trap \"echo caught; sleep 0.2; exit 9\" INT; echo waiting; while :; do sleep 0.05; done'",
    )?;
    terminal.shows("ready\r\n")?;
    terminal.types("word\n")?;
    // Once by the terminal's echo, once by cat.
    terminal.shows("word\r\nword\r\n")?;
    terminal.types(CTRL_D)?;
    terminal.shows("waiting")?;
    terminal.types(CTRL_C)?;
    terminal.shows("caught")?;
    terminal.shows("status 9")?;
    terminal.never_showed("word\r\nword\r\nword")
}

fn drain(lab: &Lab) -> Result<()> {
    for options in [&["-t"][..], &["-t", "--init"]] {
        let outcome = lab.run(["seq", "100000"]).with(options).finish()?;
        let lines = outcome.output().lines().count();
        let last = outcome.output().lines().last().unwrap_or_default().trim_end().to_string();
        if (lines, last.as_str()) != (100_000, "100000") {
            return Err(outcome.differs("100,000 lines"));
        }
        outcome.succeeds()?;
    }
    // Keys that nobody reads hold up no output.
    let unread = "unread\n".repeat(30_000);
    lab.run(["seq", "100000"]).with(["-ti"]).input(unread).finish()?.succeeds()?;
    let mut terminal = at_terminal(lab, "-i", "seq 100000")?;
    for thousands in 1..100 {
        terminal.shows(&format!("{thousands}000\r\n"))?; // step by step, for each look begins after the one before
    }
    terminal.shows("99999\r\n100000\r\nstatus 0")?;
    // The pipe is full, so the line is still on its way when the command has ended.
    let slow = "{ head -c 65536 /dev/zero; \"$RUN\" run -t $IMAGE echo last; } | { sleep 4; tr -d '\\0\\r'; echo end; }";
    Terminal::with_shell(lab, &["-c", &format!("{slow}; read line")])?.shows("last\r\nend")?;
    // SIGTERM to the whole job, as timeout(1) sends it. The command takes its time.
    let late = "trap \"sleep 1; echo last; exit 3\" TERM; echo on; while :; do sleep 0.1; done";
    let script =
        format!("set -m; \"$RUN\" run -t $IMAGE sh -c '{late}' & wait $!; echo \"status $?\"; read line");
    let mut terminal = Terminal::with_shell(lab, &["-c", &script])?;
    terminal.shows("on\r")?;
    the_run(lab, &terminal)?.signal_group(Signal::SIGTERM);
    terminal.shows("last\r")?;
    terminal.shows("status 3")
}

fn modes_back(lab: &Lab) -> Result<()> {
    let cases: [(&str, &str, &str, &[&str], i32); 6] = [
        ("", "-ti", "sh -c 'stty -echo raw; exit 4'", &[], 4),
        ("", "-ti", "no-such-command", &[], 127),
        ("", "-ti --shm-size 0", "true", &[], 125),
        ("", "-ti --init", "sleep 1000", &[CTRL_C], 130),
        ("", "-ti", "sh -c 'kill -9 $$; exit 5'", &[], 5), // process 1 is shielded from its own
        ("setsid -w ", "-ti", "sh -c 'exit 6'", &[], 6),   // a terminal of somebody else's session
    ];
    for (before_it, options, command, keys, status) in cases {
        let mut terminal = Terminal::with_shell(
            lab,
            &[
                "-c",
                &format!(
                    "echo begin; read go; {before_it}\"$RUN\" run {options} $IMAGE {command}; echo \"status $?\"; read line"
                ),
            ],
        )?;
        terminal.shows("begin")?;
        let before = terminal.modes()?;
        terminal.types("\n")?;
        for key in keys {
            raw(&mut terminal, &before)?;
            asleep(lab, &terminal)?;
            terminal.types(key)?;
        }
        terminal.shows(&format!("status {status}"))?;
        see::same(terminal.line(), "the terminal's modes", before, terminal.modes()?)?;
        terminal.belongs_to_the_caller()?;
    }
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut terminal = Terminal::with_shell(
            lab,
            &[
                "-c",
                "echo begin; read go; \"$RUN\" run -ti $IMAGE sh -c 'trap : WINCH; echo on; sleep 1000'; echo \"status $?\"; read line",
            ],
        )?;
        terminal.shows("begin")?;
        let before = terminal.modes()?;
        terminal.types("\n")?;
        terminal.shows("on\r")?;
        raw(&mut terminal, &before)?;
        let run = the_run(lab, &terminal)?;
        // It goes on to the command, which is shielded as process 1, and so the command is killed as well.
        run.signal(signal);
        command(lab, &terminal)?.signal(Signal::SIGKILL);
        terminal.shows("status 137")?;
        see::same(terminal.line(), "the terminal's modes", before, terminal.modes()?)?;
    }
    Ok(())
}

fn closed(lab: &Lab) -> Result<()> {
    let script = "trap : INT; echo begin; read go; \"$RUN\" run -ti $IMAGE sh -c 'trap \"exit 7\" INT; read go; exec <&- >&- 2>&-; while :; do sleep 0.05; done'; echo \"status $?\"; read line";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows("begin")?;
    let before = terminal.modes()?;
    terminal.types("\n")?;
    raw(&mut terminal, &before)?;
    terminal.types("\n")?;
    let back = wait_for(SOON, || Ok((terminal.modes()? == before).then_some(())))?;
    back.ok_or_else(|| differs(terminal.line(), "the caller's terminal to have its modes", "it has others"))?;
    terminal.types(CTRL_C)?;
    terminal.shows("status 7")?;
    see::same(terminal.line(), "the terminal's modes", before, terminal.modes()?)?;
    terminal.belongs_to_the_caller()
}

/// Waits until the modes are others, or the terminal is lent to the container, as before it had one of its own. What is
/// typed earlier goes to the caller's job.
pub(in crate::checks) fn raw(terminal: &mut Terminal<'_>, before: &str) -> Result<()> {
    let changed = wait_for(SOON, || {
        Ok((terminal.modes()? != before || terminal.belongs_to_the_caller().is_err()).then_some(()))
    })?;
    changed.ok_or_else(|| differs(terminal.line(), "the caller's terminal to become raw", "it is not"))
}

/// Waits until the command `sleep 1000` has been executed. Until then, nobody has to be in its terminal's foreground.
pub(super) fn asleep(lab: &Lab, terminal: &Terminal<'_>) -> Result<Process> {
    let found = || Ok(lab.mark().processes().into_iter().find(|one| one.command() == "sleep 1000"));
    wait_for(SOON, found)?.ok_or_else(|| differs(terminal.line(), "sleep to run", "no such process"))
}

/// The runtime: the child of the terminal's shell.
fn the_run(lab: &Lab, terminal: &Terminal<'_>) -> Result<Process> {
    let leader = terminal.leader();
    let found = wait_for(SOON, || {
        Ok(lab.mark().processes().into_iter().find(|process| process.parent() == Some(leader)))
    })?;
    found.ok_or_else(|| differs(terminal.line(), "a process of the runtime", "none"))
}

/// The container's process 1.
fn command(lab: &Lab, terminal: &Terminal<'_>) -> Result<Process> {
    let is_it = |process: &Process| process.numbers().len() > 1 && process.numbers().last() == Some(&1);
    let found = wait_for(SOON, || Ok(lab.mark().processes().into_iter().find(is_it)))?;
    found.ok_or_else(|| differs(terminal.line(), "a process 1", "none"))
}

fn stopped(lab: &Lab) -> Result<()> {
    let mut terminal = Terminal::with_shell(lab, &["-i"])?;
    terminal.shows("caller$ ")?;
    let before = terminal.modes()?;
    terminal.types("\"$RUN\" run -ti --hostname inner $IMAGE sh\n")?;
    terminal.shows_unless("# ", "caller$ ")?;
    raw(&mut terminal, &before)?;
    for whom in ["process", "job"] {
        let run = the_run(lab, &terminal)?;
        match whom {
            "process" => run.signal(Signal::SIGTSTP),
            _ => run.signal_group(Signal::SIGTSTP),
        }
        terminal.shows("Stopped")?;
        terminal.shows("caller$ ")?;
        terminal.types("echo $((40+2))-is-the-answer\n")?;
        terminal.shows("42-is-the-answer\r\n")?;
        terminal.types("fg\n")?;
        terminal.shows("inner")?;
        terminal.types("\n")?;
        terminal.shows("# ")?;
        terminal.types("echo $((50+2))-is-the-answer\n")?;
        terminal.shows("52-is-the-answer\r\n")?;
        terminal.shows("# ")?;
    }
    // Inside, Ctrl-Z is for what runs there.
    terminal.types("sleep 1000\n")?;
    asleep(lab, &terminal)?;
    terminal.types(CTRL_Z)?;
    terminal.shows("Stopped")?;
    terminal.shows("# ")?;
    // Somebody outside who has the container's terminal open does not keep run from ending.
    let theirs = command(lab, &terminal)?.file("fd/0");
    let _theirs = fs::File::options()
        .read(true)
        .custom_flags(libc::O_NOCTTY)
        .open(theirs)
        .context("opening the container's terminal")?;
    terminal.types("exit 3\n")?;
    terminal.types("exit 3\n")?;
    terminal.shows("caller$ ")?;
    terminal.belongs_to_the_caller()
}

fn no_terminal(lab: &Lab) -> Result<()> {
    for options in [&["-t"][..], &["-t", "--init"]] {
        let tty = lab.sh("tty; test -t 0 && test -t 1 && test -t 2; exit $?").with(options).finish()?;
        tty.exits(0)?.prints("/dev/pts/0\r\n")?.complains("")?;
    }
    let typed = lab.run(["cat"]).with(["-ti"]).input("hello\n").finish()?;
    typed.succeeds()?;
    if !typed.output().contains("hello\r\nhello\r\n") {
        return Err(typed.differs("hello, echoed by the terminal and printed by cat"));
    }
    // Without a newline, too, the input has an end.
    let torn = lab.run(["cat"]).with(["-ti"]).input("first\nhello").finish()?;
    torn.succeeds()?;
    if !torn.output().contains("hello") {
        return Err(torn.differs("hello, of which no line ends"));
    }
    let silent = lab.sh("read -t 1 word; echo \"[$word]\"").with(["-t"]).input("hello\n").finish()?;
    silent.prints("[]\r\n").map(drop)
}

fn gone(lab: &Lab) -> Result<()> {
    let script = "\"$RUN\" run -t $IMAGE sh -c '[ -e /dev/pts/0 ] && while echo more; do :; done' | head -n 1; echo \"reader done\"; read line";
    let mut terminal = Terminal::with_shell(lab, &["-c", script])?;
    terminal.shows("more")?;
    terminal.shows("reader done")
}

fn out_of_reach(lab: &Lab) -> Result<()> {
    for options in ["", "-i", "-t", "-ti", "-ti --init", "-i --init"] {
        let mut terminal = at_terminal(lab, options, "sh -c 'echo here; sleep 1000'")?;
        terminal.shows("here")?;
        let process = command(lab, &terminal)?;
        let caller = fs::metadata(format!("/proc/{}/fd/0", terminal.leader().0))
            .context("looking at the terminal")?
            .rdev();
        for one in lab.mark().processes().into_iter().filter(|one| one.numbers().len() > 1) {
            for (fd, target) in one.descriptors()? {
                let path = one.file(&format!("fd/{fd}"));
                let theirs = fs::metadata(&path).map(|data| (data.rdev(), data.dev()));
                let callers = fs::metadata(format!("/proc/{}/fd/0", terminal.leader().0))?;
                if theirs.is_ok_and(|theirs| theirs == (caller, callers.dev())) {
                    return Err(differs(
                        terminal.line(),
                        "no way to the caller's terminal",
                        format!("descriptor {fd} is {target}"),
                    ));
                }
            }
        }
        let controlling = process.path("/dev/tty");
        see::same(terminal.line(), "/dev/tty to be there:", true, Path::new(&controlling).exists())?;
        process.signal(Signal::SIGKILL);
        terminal.shows("status 137")?;
    }
    Ok(())
}

fn in_order(lab: &Lab) -> Result<()> {
    let lines = "[ -t 1 ] || [ -t 2 ] && exit 1; i=0; while [ $i -lt 200 ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); done";
    let mut terminal = at_terminal(lab, "", &format!("sh -c '{lines}'"))?;
    let expected: String = (0..200).map(|i| format!("out-{i}\r\nerr-{i}\r\n")).collect();
    terminal.shows(&format!("{expected}status 0"))
}
